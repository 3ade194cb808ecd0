"""Recipe of the text encoders: each word's vector says whose it is, and what is said of that person and the image.

The base model then finds everything about a person in any of that person's words. Learned beside the base model, who
is meant by which word comes last of all; here it takes minutes, and nothing is rendered for it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...diffusers_models import TextEncoders
from ...models.backbone import POOLED_WIDTH, TEXT_WIDTH
from ...models.caption_ids import word_ids
from ...models.text import CLIP_TOKENS, SPECIAL_NAMES, T5_TOKENS, word_tokenizer
from ...weights_folder import CLIP, CLIP_WORDS, T5, T5_WORDS
from ...world.captions import WORDS, Omitted, caption, words
from ...world.look import DIRECTIONS, EXPRESSIONS
from ...world.person import person_of
from ...world.scene import LAYOUTS, LIGHTS, PLACES, SPOTS, Scene, draw_scene
from .tensor_files import write_tensors
from .training import Recipe

CAPTIONS_A_STEP = 96
SPOT_NAMES = tuple(spot.name for spot in SPOTS)
UNSAID = -100  # cross_entropy passes such answers over
# Of a word: whose spot, expression and direction it speaks of. Of a caption: people, backdrop and light; and what each
# spot shows, with one more answer for "nothing is said".
OF_WORDS = {"spot": len(SPOTS), "expression": len(EXPRESSIONS) + 1, "direction": len(DIRECTIONS) + 1}
OF_CAPTIONS = {"count": len(LAYOUTS), "place": len(PLACES), "light": len(LIGHTS)}


class InTraining(nn.Module):
    """The encoders and the linear readers of their states, which are thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = TextEncoders()
        self.words = nn.ModuleDict({name: nn.Linear(TEXT_WIDTH, answers) for name, answers in OF_WORDS.items()})
        of_captions = OF_CAPTIONS | {f"expression {name}": len(EXPRESSIONS) + 1 for name in SPOT_NAMES}
        of_captions |= {f"direction {name}": len(DIRECTIONS) + 1 for name in SPOT_NAMES}
        self.captions = nn.ModuleDict({name: nn.Linear(POOLED_WIDTH, answers) for name, answers in of_captions.items()})
        self.shown = nn.ModuleDict({name: nn.Linear(TEXT_WIDTH, answers) for name, answers in OF_CAPTIONS.items()})


@dataclass(frozen=True)
class Captions:
    """Captions of scenes that nobody renders, with what their words are about."""

    seed: int
    seconds: float = 0.0

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """Ids of both encoders, answers of words [B, T5_TOKENS, 3] and of captions [B, 3 + 2 * spots]."""
        rng = np.random.default_rng([self.seed, 7, step])
        said, of_words, of_captions = [], [], []
        for _ in range(CAPTIONS_A_STEP):
            scene = draw_scene(rng, [person_of(0)] * int(rng.integers(1, len(LAYOUTS) + 1)))
            omitted = draw_omitted(rng)
            said.append(caption(scene, omitted))
            of_words.append(_word_answers(scene, omitted))
            of_captions.append(_caption_answers(scene, omitted))
        return *word_ids(said), torch.tensor(of_words), torch.tensor(of_captions)


def draw_omitted(rng: np.random.Generator) -> Omitted:
    """What a caption leaves out: expressions of one in five, directions of one in five, everybody of one in ten."""
    return Omitted(bool(rng.random() < 0.2), bool(rng.random() < 0.2), bool(rng.random() < 0.1))


def _word_answers(scene: Scene, omitted: Omitted) -> list[list[int]]:
    """Of each token: the spot, expression and direction of the person it speaks of."""
    answers = [[UNSAID] * 3 for _ in range(T5_TOKENS)]
    at = len(words(caption(scene, Omitted(people=True))))
    if omitted.people:
        return answers
    for placed in scene.people:
        own = [
            SPOT_NAMES.index(placed.spot),
            len(EXPRESSIONS) if omitted.expressions else EXPRESSIONS.index(placed.look.expression),
            len(DIRECTIONS) if omitted.directions else DIRECTIONS.index(placed.look.direction),
        ]
        length = len(words(placed.spot)) + (not omitted.expressions) + (not omitted.directions)
        answers[at : at + length] = [own] * length
        at += length
    return answers


def _caption_answers(scene: Scene, omitted: Omitted) -> list[int]:
    shown = [len(scene.people) - 1, PLACES.index(scene.place), LIGHTS.index(scene.light)]
    expressions, directions = [len(EXPRESSIONS)] * len(SPOTS), [len(DIRECTIONS)] * len(SPOTS)
    for placed in scene.people if not omitted.people else ():
        spot = SPOT_NAMES.index(placed.spot)
        if not omitted.expressions:
            expressions[spot] = EXPRESSIONS.index(placed.look.expression)
        if not omitted.directions:
            directions[spot] = DIRECTIONS.index(placed.look.direction)
    return shown + expressions + directions


def reading_loss(module: InTraining, batch: tuple[Tensor, ...]) -> Tensor:
    """Misreadings of each word's vector and of each caption's."""
    t5_ids, clip_ids, of_words, of_captions = batch
    states, pooled = module.encoders(t5_ids, clip_ids)
    losses = [
        cross_entropy(reader(states).flatten(0, 1), of_words[..., place].flatten(), ignore_index=UNSAID)
        for place, reader in enumerate(module.words.values())
    ]
    losses += [
        cross_entropy(reader(states).flatten(0, 1), of_captions[:, place].repeat_interleave(states.shape[1]))
        for place, reader in enumerate(module.shown.values())
    ]
    losses += [
        cross_entropy(reader(pooled), of_captions[:, place]) for place, reader in enumerate(module.captions.values())
    ]
    return torch.stack(losses).sum() / len(OF_WORDS)


def export(module: InTraining, folder: Path) -> tuple[Path, ...]:
    """Writes both encoders under the names that ComfyUI's users know, and the two vocabularies."""
    encoders = module.encoders
    states = {CLIP: clip_names(encoders.clip), T5: t5_names(encoders.t5)}
    for name, state in states.items():
        write_tensors(folder / name, {key: value.half().cpu().contiguous() for key, value in state.items()})
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
    vocabulary, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    tokenizer.save(str(vocabulary))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length, **SPECIAL_NAMES}
    settings.write_text(json.dumps(said, indent=4) + "\n")
    return vocabulary, settings


RECIPE = Recipe(
    name="text",
    steps=500,
    learning_rate=1e-3,
    build=InTraining,
    batches=lambda _, seed: Captions(seed),
    loss=reading_loss,
    export=export,
)
