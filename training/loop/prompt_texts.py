"""Texts of the user's own prompts, encoded once: before the base model is loaded, and kept in the run's folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from ..base.family import Paths, Text
from ..base.registry import family_named
from ..cache.cache import Cache
from ..cache.files import SHARDS, remove_partial_files
from ..cache.shards import Shards, ShardWriter
from ..configuration.finetune import Finetune
from ..configuration.monitoring import ValidationSettings
from ..configuration.preparing import TEXT_ENCODERS
from ..preparing.encoding import encode_texts, text_key

LOGGER = logging.getLogger("withanyone")
FOLDER = "prompts"  # of the run


def encoded_prompts(settings: Finetune, cache: Cache, accelerator: Accelerator) -> tuple[Text, ...]:
    """The text of each of `validation.prompts`, from the cache, from the run's folder, or encoded now.

    The encoders are on the device only inside, in the main process; to be called by all, before the base model is
    loaded, which most cards do not hold beside T5.

    Raises ValueError or FileNotFoundError where the encoders are not known or are not those of the cache.
    """
    prompts = [entry.prompt for entry in settings.validation.prompts]
    if not prompts:
        return ()
    fingerprint, folder = cache.fingerprints.get("text", ""), settings.out / FOLDER
    missing = missing_texts(settings, cache)
    if missing:
        paths = encoder_paths(settings.validation, cache)
        if accelerator.is_main_process:
            _encode(missing, paths, cache, folder, accelerator.device)
    accelerator.wait_for_everyone()
    kept = Shards(folder / SHARDS)
    keys = [text_key(fingerprint, prompt) for prompt in prompts]
    return tuple({name: _read(kept, cache, f"{key}.{name}").to(torch.float32) for name in cache.texts} for key in keys)


def missing_texts(settings: Finetune, cache: Cache) -> list[str]:
    """The prompts that neither the cache nor the run's folder has the text of, each once."""
    fingerprint, kept = cache.fingerprints.get("text", ""), Shards(settings.out / FOLDER / SHARDS)
    texts = dict.fromkeys(entry.prompt for entry in settings.validation.prompts)
    tensors = {text: [f"{text_key(fingerprint, text)}.{name}" for name in cache.texts] for text in texts}
    return [text for text, keys in tensors.items() if any(key not in kept and key not in cache.tensors for key in keys)]


def encoder_paths(validation: ValidationSettings, cache: Cache) -> Paths:
    """By the names of settings: as the settings say, else where prepare.py found them.

    Raises ValueError where nobody says, FileNotFoundError where nothing is there.
    """
    recorded = {name: Path(path) for name, path in cache.text_encoders.items() if name in TEXT_ENCODERS}
    given = {name: path for name in TEXT_ENCODERS if (path := getattr(validation, name)) is not None}
    # A tokenizer belongs to its encoder: with another encoder the recorded one says nothing.
    recorded = {name: path for name, path in recorded.items() if name.removesuffix("_tokenizer") not in given}
    paths = {**recorded, **given}
    family = family_named(cache.base)
    unknown = [f"validation.{name}" for name in family.text_settings if name not in paths]
    if unknown:
        raise ValueError(
            f"validation.prompts have to be encoded by {family.label}'s text encoders, and the cache does not say "
            "where they are: an earlier prepare.py made it. Run prepare.py again, which computes nothing twice, "
            f"or name {' and '.join(unknown)} and their tokenizers."
        )
    for name, path in paths.items():
        if not path.exists():
            asked = "is not there" if name in given else "was there when the photos were prepared, and is not any more"
            raise FileNotFoundError(
                f"validation.prompts have to be encoded, and {path} {asked}. Name it as validation.{name}=PATH."
            )
    return paths


def _encode(texts: Sequence[str], paths: Paths, cache: Cache, folder: Path, device: torch.device) -> None:
    LOGGER.info("Texts of validation.prompts to encode: %d. The text encoders leave the memory afterwards.", len(texts))
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    family = family_named(cache.base)
    encoder = family.open_text_encoder(paths, dtype, device)
    names = " and ".join(paths[name].name for name in family.text_settings)
    cache.check_models({f"the text encoders {names}": encoder.fingerprint})
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    writer = ShardWriter(Shards(folder / SHARDS))
    for _ in encode_texts(texts, encoder, cache.fingerprints.get("text", ""), writer):
        pass
    encoder.release()


def _read(kept: Shards, cache: Cache, name: str) -> torch.Tensor:
    return kept[name] if name in kept else cache.tensors[name]
