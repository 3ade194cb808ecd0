"""FLUX.1-dev, its VAE, glintr100 and a fresh adapter at full size, without data."""

from withanyone_pack.tests.training.rooms import add_training
from withanyone_pack.tests.training.small_iresnet import iresnet

add_training()
from diffusers import AutoencoderKL
from torch import nn

from training.base.family import Architecture
from training.base.flux1 import FLUX_1, LatentScale
from training.configuration.finetune import Finetune
from training.loop.step import FrozenModels
from training.loop.trainable import Sizes, branch_shapes, branch_weights
from training.memory.dry_run import DummyModels
from training.memory.fake_tensors import BatchShape, FakeTensors
from training.memory.weight_bytes import compute_dtype

TEXT = {"t5": (512, 4096), "pooled": (768,)}
BANK = (10000, 4096)


def architecture(**sizes) -> Architecture:
    """FLUX.1-dev's, of which diffusers' defaults are most."""
    return Architecture(FLUX_1, {"guidance_embeds": True, **sizes})


class Recognizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = iresnet((3, 13, 30, 3), (64, 128, 256, 512), 512)

    def forward(self, crops):
        return self.layers((crops.float() - 127.5) / 127.5)


def flux_1_vae():
    kinds = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    widths = (128, 256, 512, 512)
    return AutoencoderKL(3, 3, *kinds, widths, 2, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False)


def flux_1_models(settings: Finetune) -> DummyModels:
    """Everything that settings ask for, at the size of the released models."""
    fakes, dtype = FakeTensors(), compute_dtype(settings.base.precision)
    transformer = fakes.transformer(architecture(), settings.base.precision)
    adapter = fakes.adapter(branch_shapes(settings.adapter, Sizes(3072, 57, 512, 768)), settings.train, dtype)
    frozen = FrozenModels(transformer, fakes.module(flux_1_vae, dtype), LatentScale(), fakes.module(Recognizer))
    return DummyModels(fakes, frozen, adapter, branch_weights(settings.adapter))


def flux_1_batch(settings: Finetune, side_px: int = 512, people: int = 2, fraction: float = 0.3) -> BatchShape:
    """A pass of square images of which this fraction is in somebody's place."""
    tokens = (side_px // 16) ** 2
    siglip = (256, 768) if settings.adapter.branch != "arc" else None
    return BatchShape(
        side_px,
        side_px,
        settings.optim.batch_size,
        people,
        people,
        round(fraction * tokens),
        TEXT,
        siglip=siglip,
        negatives=BANK,
    )
