"""The bank of faces that a generated face should be unlike."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file
from safetensors.torch import save

from withanyone_core.tolerance import SLACK

from ..cache.entries import FILLED, FOREIGN, Negatives
from ..cache.shards import write_whole

FALSE_NEGATIVE_COSINE = 0.4
LEAST_FOREIGN = 512
LEAST_TO_IMITATE = 16  # embeddings: the spread of fewer says nothing about that of faces
BANK_TENSORS = ("vectors", "negatives.vectors")
MADE_WITH = "withanyone.made_with"
TRIES = 8


@dataclass(frozen=True, eq=False)
class NegativeBank:
    """Negatives and how they came about.

    foreign  embeddings of other people's faces
    dropped  foreign embeddings too like somebody who is trained
    filled   random embeddings
    """

    negatives: Negatives
    foreign: int
    dropped: int
    filled: int

    def summary(self) -> str:
        own = len(self.negatives.identities) - self.foreign - self.filled
        words = f"{own} of the trained people (each is a negative of the others), {self.foreign} of other faces"
        if self.dropped:
            words += f"; {self.dropped} were dropped as too like somebody who is trained"
        if self.filled:
            words += f"; {self.filled} random embeddings fill up the rest, which are easier to tell apart than faces"
        return words


def bank(
    own: np.ndarray, identities: Sequence[int], foreign: np.ndarray, seed: int, least: int = LEAST_FOREIGN
) -> NegativeBank:
    """All embeddings a loss may draw from.

    own         raw embeddings [n, d] of the trained people, with their identities
    foreign     raw embeddings [m, d] of anybody else
    least       where fewer foreign embeddings are left, random ones of the same mean and covariance fill up to it

    A foreign embedding with a cosine above 0.4 to any of `own` may be one of them and is dropped.
    """
    usable = foreign[~_like(foreign, own)]
    filled = _filled(usable, own, max(least - len(usable), 0), np.random.default_rng(seed))
    embeddings = np.concatenate([own, usable, filled]).astype(np.float32)
    marks = [*identities, *[FOREIGN] * len(usable), *[FILLED] * len(filled)]
    negatives = Negatives(torch.from_numpy(embeddings), torch.tensor(marks, dtype=torch.int32))
    return NegativeBank(negatives, len(usable), len(foreign) - len(usable), len(filled))


def write_bank(path: Path, found: NegativeBank, files: Mapping[str, str]) -> None:
    """Writes the faces of other people for `read_bank`: raw embeddings alone, and the models they were made with.

    files  of those models: name to SHA-256
    Raises ValueError where there is no such face, OSError where the file cannot be written.
    """
    foreign = found.negatives.embeddings[found.negatives.identities == FOREIGN]
    if len(foreign) == 0:
        raise ValueError(
            f"There is nothing to write to {path}: no face of anybody else was found. Put photos of other people into "
            "negatives, or leave negatives.export out."
        )
    made_with = {name: digest for name, digest in files.items() if name.endswith(".onnx")}
    header = {"format": "pt", MADE_WITH: json.dumps(made_with)}
    write_whole(path, save({"vectors": foreign.contiguous()}, header))


def read_bank(path: Path, width: int, files: Mapping[str, str] | None = None) -> np.ndarray:
    """Raw embeddings [N, width] of a bank file: safetensors with `vectors`, or the bank file of another cache.

    files  model files of this run, name to SHA-256: a bank that says it was made with another file of such a name is
           refused
    Raises FileNotFoundError, or ValueError for anything else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no bank of negatives {path}.")
    try:
        arrays = load_file(path)
        with safe_open(path, framework="np") as reader:
            made_with = json.loads((reader.metadata() or {}).get(MADE_WITH, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"The bank of negatives {path} is no safetensors file: {error}") from error
    other = [name for name, digest in made_with.items() if digest != (files or {}).get(name, digest)]
    if other:
        raise ValueError(
            f"The bank of negatives {path} was made with another {other[0]} than this face pack has: embeddings of two "
            "recognizers cannot be compared. Use a bank of the same recognizer, or none."
        )
    name = next((name for name in BANK_TENSORS if name in arrays), None)
    if name is None or arrays[name].ndim != 2 or arrays[name].shape[1] != width:
        shapes = ", ".join(f"{each} {list(array.shape)}" for each, array in arrays.items()) or "nothing"
        raise ValueError(
            f"The bank of negatives {path} holds {shapes}; expected `vectors` of shape [number, {width}], raw "
            "embeddings of the same recognizer."
        )
    embeddings = arrays[name].astype(np.float32)
    return embeddings[np.isfinite(embeddings).all(axis=1) & embeddings.any(axis=1)]


def _like(embeddings: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Which embeddings [n] may belong to one of `own`."""
    if not len(embeddings) or not len(own):
        return np.zeros(len(embeddings), bool)
    return (_unit(embeddings) @ _unit(own).T).max(axis=1) > FALSE_NEGATIVE_COSINE + SLACK


def _filled(foreign: np.ndarray, own: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random embeddings that are like nobody of `own`; those that are, are drawn again."""
    found = np.zeros((0, own.shape[1]))
    for _ in range(TRIES):
        drawn = _drawn(foreign, own, count - len(found), rng)
        found = np.concatenate([found, drawn[~_like(drawn, own)]])
    return found


def _drawn(foreign: np.ndarray, own: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian embeddings with the foreign ones' mean and covariance, or in all directions where those are few."""
    if len(foreign) < LEAST_TO_IMITATE:
        embeddings = rng.standard_normal((count, own.shape[1]))
        return embeddings * float(np.linalg.norm(own, axis=1).mean()) / np.sqrt(own.shape[1])
    mean = foreign.mean(axis=0, dtype=np.float64)
    # A random mix of the deviations has exactly their covariance.
    weights = rng.standard_normal((count, len(foreign))) / np.sqrt(len(foreign) - 1)
    return mean + weights @ (foreign - mean)


def _unit(embeddings: np.ndarray) -> np.ndarray:
    exact = embeddings.astype(np.float64)
    return exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12)
