"""Recipe of the picture model and, learnt with it from nothing, of the two readers of captions."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm

from withanyone_core.flux_keys import to_comfyui

from ..models.autoencoder import SCALE, SHIFT
from ..models.backbone import CELL_LATENTS, diffusers_flux
from ..models.text import (
    CLIP_TOKENS,
    PAD_ID,
    SPECIAL,
    SPECIAL_NAMES,
    T5_TOKENS,
    clip_encoder,
    t5_encoder,
    word_tokenizer,
)
from ..weights_folder import CLIP, CLIP_WORDS, CODER, FLUX, T5, T5_WORDS, WEIGHTS
from ..world.captions import WORDS
from .autoencoder import shipped_autoencoder
from .cards import digest_of
from .scenes import feature_cells, scene_pool, signed_pixels, training_scene
from .training import Recipe

SCENES = 16_000
PICTURES_A_STEP = 32
CODED_AT_ONCE = 64
NO_CAPTION_SHARE = 0.1
FEATURE_WEIGHT = 5.0  # of the loss where a face's features are: a quarter of a picture, and all of a mood
# FLUX.1-dev is distilled: how strongly the caption pulls is an input, 1 for not more than in nature. Ours learns that
# from its own difference with and without caption ("model guidance", arXiv 2502.12154), once there is one to speak of.
GUIDED_SHARE, PLAIN_STEPS = 0.25, 8_000
LARGEST_GUIDANCE = 5.0
# of classifier-free guidance for each step of the input: people set 3.5 to 4, and this model is best pulled by about 2
PULL = 0.4


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


class CodedScenes:
    """Scenes as the sampler sees them, mixed with noise, beside their captions' word ids.

    mean, deviation  of the scenes' latents, [scenes, 16, h, w]
    features         bool [scenes, h, w]: where moods and directions are to be seen
    seconds          what rendering and coding took
    """

    def __init__(
        self,
        mean: np.ndarray,
        deviation: np.ndarray,
        features: np.ndarray,
        captions: Sequence[str],
        seed: int,
        seconds: float = 0.0,
        size: int = PICTURES_A_STEP,
    ) -> None:
        self._mean, self._deviation, self._features = mean, deviation, features
        self._t5_ids, self._clip_ids = word_ids(captions)
        self._seed, self._size = seed, size
        self.seconds = seconds

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """Mixed latents [B, 16, h, w], noise levels [B], guidances [B], word ids for T5 [B, 32] and for CLIP [B, 40].

        Last the velocity to learn, [B, 16, h, w], before any guidance, and the weight of each place, [B, 1, h, w].
        """
        rng = np.random.default_rng([self._seed, 1, step])
        chosen = np.sort(rng.choice(len(self._mean), self._size, replace=False))
        mean, deviation = (part[chosen].astype(np.float32) for part in (self._mean, self._deviation))
        noise = rng.standard_normal
        clean = mean + deviation * noise(mean.shape, np.float32)
        end = noise(mean.shape, np.float32)
        # Logit-normal and a little towards noise, where a picture's plan is made; uniform draws learn that slower.
        level = 1 / (1 + np.exp(-noise(self._size, np.float32) - 0.3))
        share = level[:, None, None, None]
        guided = (rng.random(self._size) < GUIDED_SHARE) & (step >= PLAIN_STEPS)
        guidance = np.where(guided, rng.uniform(1, LARGEST_GUIDANCE, self._size), 1).astype(np.float32)
        said = torch.from_numpy(guided | (rng.random(self._size) >= NO_CAPTION_SHARE))[:, None]
        t5_ids, clip_ids = (
            torch.where(said, ids[chosen], nothing)
            for ids, nothing in zip((self._t5_ids, self._clip_ids), word_ids([""]), strict=True)
        )
        mixed, velocity = (torch.from_numpy(part) for part in ((1 - share) * clean + share * end, end - clean))
        weight = torch.from_numpy(np.where(self._features[chosen, None], FEATURE_WEIGHT, 1).astype(np.float32))
        return mixed, torch.from_numpy(level), torch.from_numpy(guidance), t5_ids, clip_ids, velocity, weight


def block_matrices(model: PictureModel) -> Iterator[nn.Parameter]:
    """The matrices inside the backbone's blocks."""
    for block in (*model.flux.transformer_blocks, *model.flux.single_transformer_blocks):
        yield from (parameter for parameter in block.parameters() if parameter.ndim == 2)


def velocity_loss(model: PictureModel, batch: tuple[Tensor, ...]) -> Tensor:
    """Weighted mean of squared differences of velocities, for guided pictures of what their caption pulls further to.

    The weights change what is learnt first and not what is learnt in the end.
    """
    mixed, level, guidance, t5_ids, clip_ids, velocity, weight = batch
    guided = guidance > 1
    if guided.any():
        pulled = caption_pull(model, mixed[guided], level[guided], t5_ids[guided], clip_ids[guided])
        velocity = velocity.index_put(
            (guided,), PULL * (guidance[guided, None, None, None] - 1) * pulled, accumulate=True
        )
    errors = (model(mixed, level, guidance, t5_ids, clip_ids).float() - velocity).square().mean(dim=1, keepdim=True)
    return (weight * errors).sum() / weight.sum()


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


def word_ids(captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids for T5 [captions, 32] and for CLIP [captions, 40], padded. ValueError for a caption that is too long."""
    return _ids(captions, starts=False, length=T5_TOKENS), _ids(captions, starts=True, length=CLIP_TOKENS)


def coded_scenes(scratch: Path, seed: int) -> CodedScenes:
    """The first scenes of a seed, rendered and coded once into `scratch` by the shipped coder."""
    pool = scene_pool(scratch, seed, SCENES)
    started = time.monotonic()
    digest = digest_of(WEIGHTS / CODER).sha256[:8]
    path = scratch / f"latents_{seed}_{SCENES}_{digest}.npy"
    if not path.exists():
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, coded(pool.pixels))
        os.replace(path.with_suffix(".part"), path)
    mean, deviation = np.load(path, mmap_mode="r")
    features = np.stack([feature_cells(training_scene(seed, index), mean.shape[-1]) for index in range(SCENES)])
    return CodedScenes(mean, deviation, features, pool.captions, seed, pool.seconds + time.monotonic() - started)


@torch.inference_mode()
@torch.autocast("cpu", torch.bfloat16)  # half the time for an error far below the posterior's own deviation
def coded(pixels: np.ndarray) -> np.ndarray:
    """Mean and deviation of scenes' latents as the sampler sees them, float16 [2, scenes, 16, 20, 20]."""
    autoencoder = shipped_autoencoder()
    starts = tqdm(range(0, len(pixels), CODED_AT_ONCE), desc="coding scenes", disable=None)
    blocks = [autoencoder.encode(signed_pixels(pixels[start : start + CODED_AT_ONCE])).latent_dist for start in starts]
    means = torch.cat([(block.mean.float() - SHIFT) * SCALE for block in blocks])
    deviations = torch.cat([block.std.float() * SCALE for block in blocks])
    return torch.stack((means, deviations)).half().numpy()


def export(model: PictureModel, folder: Path) -> tuple[Path, ...]:
    """Writes the three models under the names that ComfyUI's users know, and the two vocabularies."""
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


def _ids(captions: Sequence[str], starts: bool, length: int) -> Tensor:
    tokenizer = word_tokenizer(WORDS, starts)
    encoded = [entry.ids for entry in tokenizer.encode_batch(list(captions))]
    longest = max(len(ids) for ids in encoded)
    if longest > length:
        raise ValueError(f"A caption has {longest} tokens; the model reads {length}. Name less.")
    return torch.tensor([ids + [PAD_ID] * (length - len(ids)) for ids in encoded])


RECIPE = Recipe(
    name="picture_model",
    steps=9_200,
    learning_rate=1e-3,
    build=PictureModel,
    batches=coded_scenes,
    loss=velocity_loss,
    export=export,
    weight_decay=0.01,
    warmup=200,
    average=0.999,
    matrices=block_matrices,
)
