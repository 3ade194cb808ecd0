"""A run in memory: a small FLUX.1 and VAE of random weights, a recognizer of random convolutions, photos of a cache."""

from functools import cache

import torch
from withanyone_pack.tests.training.rooms import add_training

add_training()
from accelerate import Accelerator
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from withanyone_pack.tests.training.small_cache import POOLED_WIDTH, SIGLIP_WIDTH, T5_WIDTH, small_cache

from training.base.flux1 import LatentScale
from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings
from training.loop.build import person_of
from training.loop.optimizer import make_optimizer
from training.loop.sampling import Sources
from training.loop.state import TrainingState
from training.loop.step import FrozenModels
from training.loop.trainable import Sizes, load_trainable
from training.loop.trainer import Trainer

CPU = torch.device("cpu")
_plugged: list[Trainer] = []
HIDDEN, LAYERS = 64, 3
GIVEN = (
    "base.path=flux",
    "base.precision=fp32",
    "adapter.init=none",
    "data.cache=cache",
    "id_loss.recognizer=face.onnx",
    "train.mode=full",
    "optim.name=adamw",
    "optim.lr=1e-3",
    "optim.warmup_steps=2",
    "optim.gradient_accumulation_steps=1",
    "nce.negatives=16",
    "validation.num_images=1",
    "validation.sampling_steps=2",
    "validation.num_sigmas=3",
    "memory.gradient_checkpointing=false",
    "memory.vae_gradient_checkpointing=false",
    "device=cpu",
)


class Recognizer(nn.Module):
    """Fixed random convolutions: other images, other embeddings, and a gradient to every pixel."""

    def __init__(self, seed: int = 0, width: int = 512) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.AvgPool2d(14), nn.Conv2d(3, 32, 3), nn.PReLU(), nn.Flatten(), nn.LazyLinear(width)
            )
            self.layers(torch.zeros(1, 3, 112, 112))
        self.requires_grad_(False)

    def forward(self, crops):
        return self.layers((crops - 127.5) / 127.5)


@cache
def small_frozen(recognizer: bool = True) -> FrozenModels:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = small_vae().eval().requires_grad_(False)
    return FrozenModels(small_base(), vae, LatentScale(), Recognizer() if recognizer else None)


def small_base(hidden: int = HIDDEN) -> FluxTransformer2DModel:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        transformer = FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=LAYERS - 1,
            attention_head_dim=32,
            num_attention_heads=hidden // 32,
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=POOLED_WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(8, 12, 12),
        )
    return transformer.eval().requires_grad_(False)


def small_vae() -> AutoencoderKL:
    kind = "DownEncoderBlock2D", "UpDecoderBlock2D"
    return AutoencoderKL(
        down_block_types=kind[:1] * 4,
        up_block_types=kind[1:] * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def settings_of(folder, *changes: str) -> Finetune:
    return read_settings(Finetune, None, [*GIVEN, f"out={folder}", *changes])


def small_trainer(
    folder,
    *changes: str,
    photos=None,
    frozen=None,
    evaluation_models=None,
    dtype=torch.float32,
    device=CPU,
    prompts=(),
) -> Trainer:
    """A trainer that has resumed from what its folder holds. It unplugs the one before: they share their models.

    `frozen` models may be of any size; they are on the device.
    """
    while _plugged:
        _plugged.pop().socket.remove()
    torch.set_num_threads(1)  # on models this small, threads only wait for each other
    settings = settings_of(folder, *changes)
    photos = photos or small_cache()
    frozen = frozen or small_frozen()
    layers = len(frozen.transformer.transformer_blocks) + len(frozen.transformer.single_transformer_blocks)
    sizes = Sizes(frozen.transformer.inner_dim, layers, 512, SIGLIP_WIDTH)
    person = person_of(settings, photos, frozen)
    trained = load_trainable(settings.adapter, settings.train, sizes, device, dtype, settings.seed, person)
    state = TrainingState(
        settings,
        Accelerator(cpu=device.type == "cpu"),
        frozen,
        trained,
        Sources(device, {settings.data.cache: photos}),
        make_optimizer(settings.optim, trained.parameters),
        evaluation_models,
        {"adapter": "fresh", "data": photos.data, "person": person.identity.name if person else ""},
        prompts,
    )
    trainer = Trainer(state)
    _plugged.append(trainer)
    trainer.resume()
    return trainer
