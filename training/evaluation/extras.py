"""CLIP-I, CLIP-T and an aesthetic score, each on model files the user has; nothing is downloaded.

CLIP-I is the cosine of CLIP's image features of the generated image and the ground truth, CLIP-T that of the image
and its prompt (MultiID-Bench takes ViT-B/16, cut at 77 tokens, raw cosines). The aesthetic score is a SigLIP vision
tower with a chain of linear layers on its normalized pooled output (aesthetic-predictor-v2.5: 1 to 10, more is better).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

METRICS = ("clip_i", "clip_t", "aesthetic")


class Clip:
    """A CLIP model in transformers' folder form."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError, ValueError or RuntimeError for what is missing."""
        _require(folder, "CLIP", ("config.json", "preprocessor_config.json"))
        try:
            self._model = _loaded("CLIPModel", folder).train(False)
            self._processor = _loaded("CLIPImageProcessor", folder)
            self._tokenizer = _loaded("AutoTokenizer", folder)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is not a complete CLIP model: {error}") from error

    def scores(self, generated: np.ndarray, truth: np.ndarray | None, prompt: str) -> dict[str, float | None]:
        """clip_i and clip_t of an RGB image [H, W, 3] uint8; None where there is no ground truth or no prompt."""
        with torch.inference_mode():
            feature = self._image(generated)
            return {
                "clip_i": None if truth is None else _cosine(feature, self._image(truth)),
                "clip_t": _cosine(feature, self._text(prompt)) if prompt else None,
            }

    def _image(self, image: np.ndarray) -> Tensor:
        pixels = self._processor(images=image, return_tensors="pt").pixel_values
        return _features(self._model.get_image_features(pixel_values=pixels))

    def _text(self, prompt: str) -> Tensor:
        longest = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(prompt, return_tensors="pt", truncation=True, max_length=longest)
        return _features(self._model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask))


class Aesthetic:
    """A SigLIP vision tower in transformers' folder form and the head's file (.safetensors or .pth)."""

    def __init__(self, folder: Path, head: Path) -> None:
        """Raises FileNotFoundError, ValueError or RuntimeError for what is missing or does not fit."""
        _require(folder, "SigLIP", ("config.json", "preprocessor_config.json"))
        if not head.is_file():
            raise FileNotFoundError(
                f"The aesthetic head {head} does not exist; expected its .safetensors or .pth file."
            )
        try:
            self._tower = _loaded("SiglipVisionModel", folder).train(False)
            self._processor = _loaded("SiglipImageProcessor", folder)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is not a complete SigLIP model: {error}") from error
        self._head = linear_chain(_tensors(head), self._tower.config.hidden_size, head)

    def score(self, generated: np.ndarray) -> float:
        """The score of an RGB image [H, W, 3] uint8."""
        pixels = self._processor(images=generated, return_tensors="pt").pixel_values
        with torch.inference_mode():
            pooled = self._tower(pixel_values=pixels).pooler_output
            return float(self._head(torch.nn.functional.normalize(pooled, dim=-1)))


def linear_chain(tensors: Mapping[str, Tensor], width: int, source: Path) -> torch.nn.Sequential:
    """Linear layers in the order of the numbers in their names, from `width` features to one number.

    Between them stood only dropout, which is nothing when measuring. Raises ValueError where they do not fit together.
    """
    names = sorted((name for name in tensors if name.endswith(".weight")), key=_numbers)
    chain = torch.nn.Sequential()
    for name in names:
        weight, bias = tensors[name].float(), tensors.get(name.removesuffix("weight") + "bias")
        if weight.ndim != 2 or weight.shape[1] != width or bias is None:
            raise ValueError(
                f"{source} does not fit: {name} is {list(weight.shape)}; expected [n, {width}] with a bias."
            )
        layer = torch.nn.Linear(width, weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias.float()})
        chain.append(layer)
        width = weight.shape[0]
    if width != 1 or not names:
        raise ValueError(f"{source} does not end in one number; expected the head of an aesthetic predictor.")
    return chain.train(False)


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _tensors(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
    from pickle import UnpicklingError

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a file of weights alone.") from error


def _loaded(name: str, folder: Path) -> Any:
    return _of_transformers(name).from_pretrained(folder, local_files_only=True)


def _features(output: Any) -> Tensor:
    """transformers before 5 gives the projected features themselves, later ones wrap them."""
    return output if isinstance(output, Tensor) else output.pooler_output


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.float(), b.float()))


def _require(folder: Path, what: str, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} is not a {what} model: {', '.join(missing)} missing. Expected a folder in the form of "
            "transformers, with config.json, preprocessor_config.json and model.safetensors."
        )


def _of_transformers(name: str) -> Any:
    """A class of transformers, which imports what it needs only now."""
    try:
        import transformers

        return getattr(transformers, name)
    except ImportError as error:
        raise RuntimeError(
            f"CLIP and aesthetic scores need {name} of transformers, which cannot be used: {error} "
            "Run `python -m pip install transformers`."
        ) from error
