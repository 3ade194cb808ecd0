"""A training step on random weights at a stated size: the real loop's pass, backward pass and optimizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from small_iresnet import iresnet
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from training.base.block_swap import choose_swapped_blocks, swap_blocks
from training.base.compiling import compile_blocks
from training.base.flux1 import LatentScale
from training.base.quantize import QuantizedLinear, replace_linears
from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings
from training.loop.batch import Batch
from training.loop.optimizer import make_optimizer
from training.loop.step import FrozenModels, compute_loss
from training.loop.trainable import Sizes, load_trainable
from training.losses.contrast import Bank, draw_rows
from training.losses.identity import TargetFaces
from training.memory.weight_bytes import is_quantized
from withanyone_core.faces.alignment import SIDE_PX, TEMPLATE_PX
from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.injection.placed_people import PlacedPeople, members
from withanyone_core.regions.layout import Box

EMBEDDING, SIGLIP_WIDTH, PATCHES, BANK = 512, 768, 256, 10000
LEVEL = 0.5  # under the gate: every sample is decoded and recognized


@dataclass(frozen=True)
class Size:
    """How large everything is.

    hidden, heads, axes, doubles, singles, text_tokens, text_width, pooled  of the transformer
    channels      of the VAE's levels
    units, widths of the recognizer
    """

    hidden: int
    heads: int
    axes: tuple[int, int, int]
    doubles: int
    singles: int
    text_tokens: int
    text_width: int
    pooled: int
    channels: tuple[int, ...]
    units: tuple[int, ...]
    widths: tuple[int, ...]
    dtype: torch.dtype

    @property
    def layers(self) -> int:
        return self.doubles + self.singles

    def reference_flops(self, side_px: int) -> float:
        """Operations of one sample's step as the limit counts them: 3 F + 4 a + 3 V.

        F: a forward pass of the transformer (linear layers 2 x 12 D^2 a token and block, attention 4 D L^2 a block),
        thrice with recomputing and the gradients of inputs. a: the adapter on every image token, whose weights have
        gradients too. V: a decode. At full size and 512 px 76.5 TFLOP.
        """
        image = (side_px // 16) ** 2
        tokens = image + self.text_tokens
        transformer = self.layers * (24 * self.hidden**2 * tokens + 4 * self.hidden * tokens**2)
        adapter = self.layers * 2 * 2 * image * self.hidden * (self.hidden // 2)
        return 3 * transformer + 4 * adapter + 3 * self._decode_flops(side_px)

    def vae(self) -> AutoencoderKL:
        levels = len(self.channels)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=self.channels,
            layers_per_block=2,
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )

    def transformer(self) -> FluxTransformer2DModel:
        return FluxTransformer2DModel(
            num_layers=self.doubles,
            num_single_layers=self.singles,
            attention_head_dim=self.hidden // self.heads,
            num_attention_heads=self.heads,
            joint_attention_dim=self.text_width,
            pooled_projection_dim=self.pooled,
            guidance_embeds=True,
            axes_dims_rope=self.axes,
        )

    def _decode_flops(self, side_px: int) -> float:
        with torch.device("meta"), FlopCounterMode(display=False) as counted:
            self.vae().decode(torch.empty(1, 16, side_px // 8, side_px // 8))
        return counted.get_total_flops()


FULL = Size(
    hidden=3072,
    heads=24,
    axes=(16, 56, 56),
    doubles=19,
    singles=38,
    text_tokens=512,
    text_width=4096,
    pooled=768,
    channels=(128, 256, 512, 512),
    units=(3, 13, 30, 3),
    widths=(64, 128, 256, 512),
    dtype=torch.bfloat16,
)
SMALL = Size(
    hidden=128,
    heads=2,
    axes=(16, 24, 24),
    doubles=1,
    singles=2,
    text_tokens=32,
    text_width=64,
    pooled=64,
    channels=(32, 32, 64, 64),
    units=(1, 1),
    widths=(8, 16),
    dtype=torch.float32,
)


class TrainStep:
    """One step: noise, transformer with people, flow loss, decode, faces, both identity losses, backward, optimizer."""

    def __init__(
        self, size: Size, device: torch.device, side_px: int, people: int, settings: Finetune, compiled: bool = False
    ) -> None:
        """`settings` say what is quantized, swapped, computed twice and trained; files that they name are not read."""
        torch.manual_seed(0)
        dtype = torch.float32 if settings.base.precision == "fp32" else size.dtype
        transformer = random_base(size, settings, device, dtype)
        if compiled:
            compile_blocks(transformer)
        vae = random_module(size.vae, device, dtype)
        recognizer = iresnet(size.units, size.widths, EMBEDDING).to(device).requires_grad_(False)
        self._frozen = FrozenModels(transformer, vae, LatentScale(), lambda crops: recognizer((crops - 127.5) / 127.5))
        sig = settings.adapter.branch != "arc"
        sizes = Sizes(size.hidden, size.layers, EMBEDDING, SIGLIP_WIDTH)
        trained = load_trainable(settings.adapter, settings.train, sizes, device, dtype, settings.seed)
        self._socket = AdapterSocket(transformer, trained.network, trained.weights)
        self._parameters = list(trained.parameters.values())
        self._optimizer = make_optimizer(settings.optim, trained.parameters)
        bank = Bank.of(torch.randn(BANK, EMBEDDING), torch.full((BANK,), -1))
        self._bank = bank.to(device)
        self._batch = _batch(size, side_px, settings.optim.batch_size, people, sig, bank).to(device)
        self._settings = settings

    def __call__(self) -> None:
        passed = compute_loss(self._batch, self._frozen, self._socket, self._bank, self._settings)
        passed.loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()


def step_settings(path: Path | None, changes: Sequence[str] = ()) -> Finetune:
    """Settings of a recipe, or of a whole branch by AdamW; no sample is gated and one pass makes a step."""
    given = ["out=none", "base.path=none", "adapter.init=none", "data.cache=none", "id_loss.recognizer=none"]
    return read_settings(
        Finetune, path, [*given, "id_loss.max_sigma=1.0", "optim.gradient_accumulation_steps=1", *changes]
    )


def random_base(size: Size, settings: Finetune, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A transformer of random weights, quantized and swapped as the settings say."""
    with torch.device("meta"):
        model = size.transformer()
    if is_quantized(settings.base.precision):
        replace_linears(model, settings.base.precision)
    blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
    layers = choose_swapped_blocks(len(blocks), settings.memory.blocks_to_swap)
    away = {module for layer in layers for module in blocks[layer].modules()}
    for module in model.modules():
        home = torch.device("cpu") if module in away else device
        for name, parameter in list(module.named_parameters(recurse=False)):
            value = torch.full(parameter.shape, 1.0, device=device, dtype=dtype)
            if parameter.ndim > 1:
                value.normal_(0, 0.02)
            if isinstance(module, QuantizedLinear) and name == "weight":
                module.store(value, home)
            else:
                setattr(module, name, nn.Parameter(value.to(home), requires_grad=False))
    model.eval().requires_grad_(False)
    if layers:
        swap_blocks(model, layers, device)
    if settings.memory.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model


def _batch(size: Size, side_px: int, batch: int, people: int, sig: bool, bank: Bank) -> Batch:
    boxes = [Box(0.04 + 0.24 * place, 0.1, 0.24 + 0.24 * place, 0.45) for place in range(people)]
    faces = batch * people
    embeddings: Tensor = torch.randn(faces, EMBEDDING)
    # Every face fills its box.
    landmarks = torch.tensor([box.as_tuple() for box in boxes * batch], dtype=torch.float64)
    corners, sides = landmarks[:, None, :2], landmarks[:, None, 2:] - landmarks[:, None, :2]
    points = corners + torch.from_numpy(TEMPLATE_PX / SIDE_PX) * sides
    return Batch(
        clean_BCHW=torch.randn(batch, 16, side_px // 8, side_px // 8),
        noise_BCHW=torch.randn(batch, 16, side_px // 8, side_px // 8),
        sigmas_B=torch.full((batch,), LEVEL),
        text={
            "t5": torch.randn(batch, size.text_tokens, size.text_width),
            "pooled": torch.randn(batch, size.pooled),
        },
        people=PlacedPeople(
            torch.randn(batch, people, EMBEDDING),
            members([boxes] * batch, side_px, side_px),
            torch.randn(batch, people, PATCHES, SIGLIP_WIDTH) if sig else None,
        ),
        faces=TargetFaces(torch.arange(batch).repeat_interleave(people), points.numpy()),
        target_FE=embeddings,
        reference_FE=embeddings,
        identities_F=torch.arange(faces),
        rows_FK=draw_rows(bank, range(faces), generator=torch.Generator().manual_seed(0)),
    )


def random_module(make: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A frozen model made on the device: drawing 12 billion numbers on a CPU would take minutes."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            model = make()
    finally:
        torch.set_default_dtype(usual)
    model = model.to_empty(device=device).requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.02)
            else:
                parameter.fill_(1.0)
    return model
