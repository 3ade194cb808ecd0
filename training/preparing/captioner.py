"""Captions by an image-to-text model of the user's, kept by the photo's content so that none is made twice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from withanyone_core.files.digest import file_sha256

from ..cache.shards import Shards, ShardWriter, key_of
from ..configuration.preparing import CaptionSettings
from .models import PreparationModels
from .naming import NamedPhoto
from .photos import decode_photo


class LocalCaptioner:
    """A model of a transformers folder. Its code is transformers' own, its weights are safetensors."""

    def __init__(self, folder: Path, settings: CaptionSettings, dtype: torch.dtype, device: str) -> None:
        """FileNotFoundError or ValueError for a folder that holds no such model."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise FileNotFoundError(
                f"captions.model is {folder}, which holds no .safetensors: name the folder of an image-to-text model "
                "as transformers saves it, or leave captions.model out."
            )
        try:
            self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            # transformers' automatic classes do not say which class comes of them.
            model: Any = AutoModelForImageTextToText.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype
            )
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"captions.model {folder} is no image-to-text model of transformers: {error}") from error
        self._model = model.to(device).train(False).requires_grad_(False)
        self._settings, self._device, self._dtype = settings, device, dtype
        self.fingerprint = key_of(*map(file_sha256, weights), settings.prompt, settings.max_tokens)

    def caption(self, photo: np.ndarray) -> str:
        """A line about an RGB photo [H, W, 3] uint8."""
        text = {"text": self._settings.prompt} if self._settings.prompt else {}
        inputs = self._processor(images=Image.fromarray(photo), return_tensors="pt", **text).to(
            self._device, self._dtype
        )
        with torch.no_grad():
            tokens = self._model.generate(**inputs, max_new_tokens=self._settings.max_tokens, do_sample=False)
        words = self._processor.batch_decode(tokens, skip_special_tokens=True)[0]
        return " ".join(words.removeprefix(self._settings.prompt).split())


def caption_key(models: PreparationModels, digest: str) -> str:
    return key_of("caption", models.fingerprints.get("captions"), digest)


def captioned(
    photos: Sequence[NamedPhoto], models: PreparationModels, shards: Shards, shard_bytes: int
) -> Iterator[NamedPhoto]:
    """The photos, those without a caption with the model's; one it has no words for stays without."""
    writer = ShardWriter(shards, shard_bytes)
    for photo in photos:
        if models.captioner is None or photo.source.caption is not None:
            yield photo
            continue
        name = f"{caption_key(models, photo.detected.digest)}.words"
        if name in shards:
            words = shards[name].numpy().tobytes().decode()
        else:
            words = models.captioner.caption(decode_photo(photo.source.location.read()))
            # One byte at least: a tensor of none is not kept.
            writer.put({name: torch.tensor(list(words.encode() or b" "), dtype=torch.uint8)})
        yield replace(photo, source=replace(photo.source, caption=words.strip() or None))
    writer.flush()
