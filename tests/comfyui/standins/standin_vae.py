"""A tiny autoencoder of the architecture that ComfyUI calls taef1."""

import comfy.latent_formats
import comfy.sd
import comfy.taesd.taesd
import torch
from comfy_api.latest import io

from .standin_weights import fill

LATENT_CHANNELS = 16


@torch.no_grad()
def standin_autoencoder(seed: int) -> comfy.taesd.taesd.TAESD:
    latent_format = comfy.latent_formats.Flux()
    vae = comfy.taesd.taesd.TAESD(latent_channels=LATENT_CHANNELS)
    fill(vae, seed)
    vae.vae_scale.fill_(latent_format.scale_factor)
    vae.vae_shift.fill_(latent_format.shift_factor)
    latent = torch.randn(1, LATENT_CHANNELS, 16, 16, generator=torch.Generator().manual_seed(seed))
    middle_of_range(vae.taesd_decoder, latent)
    return vae


def middle_of_range(decoder: torch.nn.Sequential, latent: torch.Tensor) -> None:
    """Scales and shifts the last layer so that a unit latent becomes an image of middle brightness and contrast."""
    image = decoder(latent)
    gain = 0.2 / image.std()
    decoder[-1].weight.mul_(gain)
    decoder[-1].bias.copy_(0.5 - gain * image.mean(dim=(0, 2, 3)))


class StandinVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StandinVAE",
            display_name="Stand-in: small random VAE",
            category="standins",
            inputs=[io.Int.Input("weights_seed", default=3)],
            outputs=[io.Vae.Output()],
        )

    @classmethod
    def execute(cls, weights_seed: int) -> io.NodeOutput:
        return io.NodeOutput(comfy.sd.VAE(sd=standin_autoencoder(weights_seed).state_dict()))
