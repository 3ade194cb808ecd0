"""The shipped base model, VAE and text encoders in diffusers' and transformers' classes."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor, nn

from training.base.flux1 import pack, unpack
from training.base.flux1_keys import KEYS

from .models.backbone import CELL_LATENTS, diffusers_flux
from .models.text import SPECIAL, clip_encoder, t5_encoder
from .weights_folder import CLIP, FLUX, T5, VAE, WEIGHTS
from .world.captions import WORDS


class TextEncoders(nn.Module):
    """Both encoders, as the base model reads them."""

    def __init__(self) -> None:
        super().__init__()
        entries = len(SPECIAL) + len(WORDS)
        self.t5, self.clip = t5_encoder(entries), clip_encoder(entries)

    def forward(self, t5_ids: Tensor, clip_ids: Tensor) -> tuple[Tensor, Tensor]:
        """States of words [B, T5_TOKENS, TEXT_WIDTH] and of captions [B, POOLED_WIDTH]."""
        return self.t5(input_ids=t5_ids).last_hidden_state, self.clip(input_ids=clip_ids).pooler_output


class CaptionedFlux(nn.Module):
    """The transformer with the text encoders, which are trained."""

    def __init__(self, text: TextEncoders | None = None) -> None:
        super().__init__()
        self.flux, self.text = diffusers_flux(), text or shipped_text_encoders()

    def forward(
        self,
        latents: Tensor,
        sigma: Tensor,
        guidance: Tensor,
        t5_ids: Tensor,
        clip_ids: Tensor,
        corner: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """Velocity [B, 8, h, w] at sigmas [B] in 0..1 and guidances [B].

        corner  column and row of the first cell, where the latents are a window of an image
        """
        rows, columns = latents.shape[-2] // CELL_LATENTS, latents.shape[-1] // CELL_LATENTS
        with torch.no_grad():
            words, pooled = self.text(t5_ids, clip_ids)
        velocity = self.flux(
            hidden_states=pack(latents),
            encoder_hidden_states=words,
            pooled_projections=pooled,
            timestep=sigma,
            img_ids=positions(rows, columns, corner).to(latents),
            txt_ids=latents.new_zeros(t5_ids.shape[1], 3),
            guidance=guidance,
        ).sample
        return unpack(velocity, rows, columns)


def positions(rows: int, columns: int, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """(0, row, column) of every cell, float32 [rows * columns, 3]."""
    first_column, first_row = corner
    row, column = torch.meshgrid(
        torch.arange(first_row, first_row + rows), torch.arange(first_column, first_column + columns), indexing="ij"
    )
    return torch.stack((torch.zeros_like(row), row, column), dim=-1).reshape(-1, 3).float()


def shipped_text_encoders(folder: Path = WEIGHTS) -> TextEncoders:
    """The trained encoders in float32, not to be trained further."""
    encoders = TextEncoders()
    t5, clip = ({key: value.float() for key, value in load_file(folder / name).items()} for name in (T5, CLIP))
    own = encoders.clip.state_dict()
    encoders.t5.load_state_dict(t5 | {"encoder.embed_tokens.weight": t5["shared.weight"]})
    encoders.clip.load_state_dict({key if key in own else key.removeprefix("text_model."): clip[key] for key in clip})
    return encoders.train(False).requires_grad_(False)


def shipped_autoencoder(folder: Path = WEIGHTS) -> AutoencoderKL:
    """The trained VAE in float32, not to be trained further."""
    return AutoencoderKL.from_pretrained(folder / VAE).float().train(False).requires_grad_(False)


def shipped_base_model(folder: Path = WEIGHTS) -> CaptionedFlux:
    """The trained base model in float32, not to be trained further."""
    model = CaptionedFlux(shipped_text_encoders(folder))
    model.flux.load_state_dict(
        KEYS.to_diffusers({key: value.float() for key, value in load_file(folder / FLUX).items()})
    )
    return model.train(False).requires_grad_(False)
