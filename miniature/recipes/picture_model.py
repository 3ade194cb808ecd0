"""Recipe of the picture model and, learnt with it from nothing, of the two readers of captions."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from withanyone_core.flux_keys import to_comfyui

from ..models.backbone import CELL_LATENTS, diffusers_flux
from ..models.text import CLIP_TOKENS, SPECIAL, SPECIAL_NAMES, T5_TOKENS, clip_encoder, t5_encoder, word_tokenizer
from ..weights_folder import CLIP, CLIP_WORDS, FLUX, T5, T5_WORDS
from ..world.captions import WORDS
from .caption_ids import word_ids
from .coded_scenes import PictureBatch, coded_scenes
from .face_reader import FaceReader, face_crops
from .training import Recipe

# Of classifier-free guidance for each step of the input: the 4 that people set is a pull of 2.8 here.
PULL = 0.6


class PictureModel(nn.Module):
    """The backbone and the readers that learn with it."""

    def __init__(self) -> None:
        super().__init__()
        entries = len(SPECIAL) + len(WORDS)
        self.flux, self.t5, self.clip = diffusers_flux(), t5_encoder(entries), clip_encoder(entries)

    def forward(self, latents: Tensor, level: Tensor, guidance: Tensor, t5_ids: Tensor, clip_ids: Tensor) -> Tensor:
        """Velocity [B, 16, h, w] at noise levels [B] in 0..1 and guidances [B], for word ids [B, 32] and [B, 40]."""
        rows, columns = latents.shape[-2] // CELL_LATENTS, latents.shape[-1] // CELL_LATENTS
        velocity = self.flux(
            hidden_states=packed(latents),
            encoder_hidden_states=self.t5(input_ids=t5_ids).last_hidden_state,
            pooled_projections=self.clip(input_ids=clip_ids).pooler_output,
            timestep=level,
            img_ids=positions(rows, columns).to(latents),
            txt_ids=latents.new_zeros(t5_ids.shape[1], 3),
            guidance=guidance,
        ).sample
        return unpacked(velocity, rows, columns)


class InTraining(nn.Module):
    """The picture model and the reader of faces that it learns from, which is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.reader = PictureModel(), FaceReader()


def block_matrices(module: InTraining) -> Iterator[nn.Parameter]:
    """The matrices inside the backbone's blocks."""
    flux = module.model.flux
    for block in (*flux.transformer_blocks, *flux.single_transformer_blocks):
        yield from (parameter for parameter in block.parameters() if parameter.ndim == 2)


def picture_loss(module: InTraining, parts: tuple[Tensor, ...]) -> Tensor:
    """Error of the velocities, misreadings of the pictures that they foresee, and what the reader itself has to learn.

    Without the second, what captions say of faces is learnt last of all.
    """
    batch = PictureBatch(*parts)
    model, reader = module.model, module.reader
    velocity = model(batch.mixed, batch.level, batch.guidance, batch.t5_ids, batch.clip_ids).float()
    crops = face_crops(batch.clean(velocity), batch.owner, batch.box)
    taught = (batch.reading_weight * reader.teaching_loss(crops, batch.answer)).mean()
    learnt = reader.learning_loss(face_crops(batch.clean(batch.velocity), batch.owner, batch.box), batch.answer)
    return velocity_error(velocity, guided_velocity(model, batch), batch.weight) + taught + learnt


def velocity_error(velocity: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of squared differences; the weights change what is learnt first and not what is learnt at last."""
    errors = (velocity - target).square().mean(dim=1, keepdim=True)
    return (weight * errors).sum() / weight.sum()


def guided_velocity(model: PictureModel, batch: PictureBatch) -> Tensor:
    """The velocity to learn [B, 16, h, w]: of guided pictures the one that their caption pulls further to."""
    guided = batch.guidance > 1
    if not guided.any():
        return batch.velocity
    pulled = caption_pull(model, batch.mixed[guided], batch.level[guided], batch.t5_ids[guided], batch.clip_ids[guided])
    further = PULL * (batch.guidance[guided, None, None, None] - 1) * pulled
    return batch.velocity.index_put((guided,), further, accumulate=True)


@torch.no_grad()
def caption_pull(model: PictureModel, mixed: Tensor, level: Tensor, t5_ids: Tensor, clip_ids: Tensor) -> Tensor:
    """Velocity with the caption less that without, both unguided: float32 [B, 16, h, w]."""
    count = len(mixed)
    nothing = [ids.to(mixed.device).expand(count, -1) for ids in word_ids([""])]
    both = [torch.cat(pair) for pair in ((mixed, mixed), (level, level), (t5_ids, nothing[0]), (clip_ids, nothing[1]))]
    said, unsaid = model(both[0], both[1], torch.ones_like(both[1]), both[2], both[3]).float().chunk(2)
    return said - unsaid


def packed(latents: Tensor) -> Tensor:
    """[B, c, h, w] to cells [B, h/2 * w/2, 4c], as FLUX.1 reads them."""
    batch, channels, height, width = latents.shape
    cells = latents.view(batch, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4)


def unpacked(cells: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `packed`."""
    batch, _, width = cells.shape
    split = cells.view(batch, rows, columns, width // 4, 2, 2)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(batch, width // 4, rows * 2, columns * 2)


def positions(rows: int, columns: int) -> Tensor:
    """(0, row, column) of every cell, float32 [rows * columns, 3]."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack((torch.zeros_like(row), row, column), dim=-1).reshape(-1, 3).float()


def export(module: InTraining, folder: Path) -> tuple[Path, ...]:
    """Writes the three models under the names that ComfyUI's users know, and the two vocabularies."""
    model = module.model
    states = {FLUX: to_comfyui(model.flux.state_dict()), CLIP: clip_names(model.clip), T5: t5_names(model.t5)}
    for name, state in states.items():
        save_file({key: value.half().cpu().contiguous() for key, value in state.items()}, folder / name)
    vocabularies = [
        *save_vocabulary(word_tokenizer(WORDS, starts=False), T5_TOKENS, folder / T5_WORDS),
        *save_vocabulary(word_tokenizer(WORDS, starts=True), CLIP_TOKENS, folder / CLIP_WORDS),
    ]
    return (*(folder / name for name in states), *vocabularies)


def clip_names(clip: nn.Module) -> dict[str, Tensor]:
    """A CLIP text model's tensors as files name them; recent versions of transformers leave the first part out."""
    first = "text_model."
    return {key if key.startswith(first) else first + key: value for key, value in clip.state_dict().items()}


def t5_names(t5: nn.Module) -> dict[str, Tensor]:
    """A T5 encoder's tensors as files name them, the embedding once."""
    return {key: value for key, value in t5.state_dict().items() if key != "encoder.embed_tokens.weight"}


def save_vocabulary(tokenizer: Tokenizer, length: int, folder: Path) -> tuple[Path, ...]:
    """Writes a folder that transformers opens, whose captions are `length` tokens long."""
    folder.mkdir(parents=True, exist_ok=True)
    words, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    tokenizer.save(str(words))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length, **SPECIAL_NAMES}
    settings.write_text(json.dumps(said, indent=4) + "\n")
    return words, settings


RECIPE = Recipe(
    name="picture_model",
    steps=18_500,
    learning_rate=1e-3,
    build=InTraining,
    batches=coded_scenes,
    loss=picture_loss,
    export=export,
    weight_decay=0.01,
    warmup=200,
    average=0.999,
    matrices=block_matrices,
)
