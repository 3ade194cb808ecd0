"""From a data folder to a finished cache."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from ..cache.cache import Cache
from ..cache.entries import UNKNOWN
from ..cache.files import SHARDS, read_header, remove_partial_files, remove_unused_shards, write_cache
from ..cache.shards import Shards, ShardWriter, key_of
from ..configuration.preparing import PrepareSettings
from .cache_plan import CachePlan, dummy_texts, plan_cache
from .captioner import caption_key, captioned
from .copy_risk import CopyRisk, PersonPhoto, assess_people
from .detection import DetectedPhoto, detect_all
from .encoding import encode_images, encode_texts, text_key
from .folder import Unused, unused, unused_lines
from .models import PreparationModels
from .multiid import centres_of, is_multiid, multiid_sources
from .naming import Naming, named
from .negatives import NegativeBank, bank, read_bank, write_bank
from .reasons import by_cause, counted, first_of
from .report import write_report
from .sources import Source, plain_sources

logger = logging.getLogger("withanyone")

Item = TypeVar("Item")

KINDS = {
    "faces": "the detector or recognizer",
    "second": "the second recognizer",
    "image": "the VAE",
    "text": "a text encoder",
    "siglip": "the SigLIP tower",
    "captions": "the captioner",
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """The result of a run.

    report  the readable report in the cache's folder
    """

    cache: Cache
    naming: Naming
    plan: CachePlan
    bank: NegativeBank
    findings: CopyRisk
    report: Path


def prepare(settings: PrepareSettings, load: Callable[[], PreparationModels]) -> Prepared:
    """Makes the cache of a data folder, or brings it up to date; only what is missing or has changed is computed.

    load  gives the models once they are needed: mistakes in the data folder are reported before

    Raises ValueError, FileNotFoundError or RuntimeError; a finished cache in that folder stays usable.
    """
    _check_folders(settings)
    previous = read_header(settings.cache)
    sources, left = _sources(settings)
    for line in unused_lines(left):
        logger.warning("%s", line)
    models = load()
    if previous is not None:
        _log_changes(previous.fingerprints, models.fingerprints)
    (settings.cache / SHARDS).mkdir(parents=True, exist_ok=True)
    remove_partial_files(settings.cache)
    shards = Shards(settings.cache / SHARDS)
    detected = _detect(sources, models, shards, settings)
    naming = _named(sources, detected, settings)
    photos = list(
        _bar(captioned(naming.photos, models, shards, _shard_bytes(settings)), len(naming.photos), "captions", "photo")
    )
    plan = plan_cache(photos, tuple(naming.centres), settings, models)
    for cause, names in by_cause((photo.source.name, reason) for photo, reason in plan.rejected):
        logger.warning("%s left out: %s: %s.", counted(names), first_of(names), cause)
    _encode(plan, models, shards, settings)
    negatives = _bank(naming, plan, settings, models.files)
    if settings.negatives.export is not None:
        write_bank(settings.negatives.export, negatives, models.files)
    cache = _cache(plan, negatives, models, shards, settings)
    write_cache(settings.cache, cache)
    findings = assess_people(_photos_by_person(plan), negatives.foreign)
    report = write_report(settings.cache, cache, naming, plan, negatives, findings, left)
    shards.close()
    remove_unused_shards(settings.cache, _used(cache, detected, models, shards))
    return Prepared(cache, naming, plan, negatives, findings, report)


def _check_folders(settings: PrepareSettings) -> None:
    if settings.cache == settings.data or settings.data.is_relative_to(settings.cache):
        raise ValueError(
            f"The cache {settings.cache} would lie among the photos of {settings.data}. Name a folder of its own."
        )
    if settings.cache.exists() and not settings.cache.is_dir():
        raise ValueError(f"The cache {settings.cache} is a file; name a folder.")


def _sources(settings: PrepareSettings) -> tuple[tuple[Source, ...], tuple[Unused, ...]]:
    """The photos, and what lies beside them and is not used."""
    if settings.layout == "multiid2m" or (settings.layout == "auto" and is_multiid(settings.data)):
        return multiid_sources(settings.data, _workers(settings), settings.limit), ()
    sources = plain_sources(settings.data)
    used = {path for source in sources for path in source.paths}
    return sources, unused(settings.data, used, settings.cache)


def _detect(
    sources: Sequence[Source], models: PreparationModels, shards: Shards, settings: PrepareSettings
) -> list[DetectedPhoto]:
    writer = ShardWriter(shards, _shard_bytes(settings))
    found = detect_all(sources, models, shards, writer, _workers(settings))
    detected = list(_bar(found, len(sources), "faces", "photo"))
    writer.flush()
    return detected


def _encode(plan: CachePlan, models: PreparationModels, shards: Shards, settings: PrepareSettings) -> None:
    """Writes every text, latent and token of the plan that is missing.

    Texts first, whose models then leave: beside T5 a card of 12 GB has no room for the VAE.
    """
    texts, shard_bytes = _texts(plan, settings), _shard_bytes(settings)
    of_texts = encode_texts(texts, models.text, models.fingerprints["text"], ShardWriter(shards, shard_bytes))
    of_images = encode_images(plan.jobs, models, shards, shard_bytes, _workers(settings))
    for _ in _bar(of_texts, len(texts), "texts", "text"):
        pass
    models.text.release()
    for _ in _bar(of_images, len(plan.jobs), "images", "photo"):
        pass


def _named(sources: Sequence[Source], detected: Sequence[DetectedPhoto], settings: PrepareSettings) -> Naming:
    least = 0 if settings.upscale else min(settings.sizes)
    centres = centres_of(settings.data, sources)
    unclear = settings.unclear_folders if centres is None else "leave_out"
    return named(sources, detected, settings.duplicate_bits, least, centres, unclear)


def _log_changes(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for kind, name in KINDS.items():
        if kind in before and before[kind] != now.get(kind):
            logger.warning("The cache was made with other models: %s has changed. What depends on it is rebuilt.", name)


def _texts(plan: CachePlan, settings: PrepareSettings) -> list[str]:
    if plan.without_caption:
        logger.warning(
            "%d of %d photos have no caption and are described by their number of people (such as %r). With captions "
            "(a .txt of the same name) clothes, place and light are not mistaken for the person.",
            plan.without_caption,
            len(plan.images),
            "a photo of one person",
        )
    return list(dict.fromkeys([*dummy_texts(settings.max_faces), *(image.caption for image in plan.images)]))


def _bank(naming: Naming, plan: CachePlan, settings: PrepareSettings, files: Mapping[str, str]) -> NegativeBank:
    embeddings = plan.embeddings()
    trained = [
        number
        for number, face in enumerate(plan.faces)
        if face.identity != UNKNOWN and not plan.images[face.image].held_out
    ]
    strangers = [
        photo.detected.faces[number].embedding
        for photo in plan.photos
        for number in range(len(photo.detected.faces))
        if number not in photo.names
    ]
    foreign = [face.embedding for _, detected in naming.negatives for face in detected.faces] + strangers
    width = embeddings.shape[1]
    read = (
        np.zeros((0, width), np.float32)
        if settings.negatives.bank is None
        else read_bank(settings.negatives.bank, width, files)
    )
    stacked = np.concatenate([np.array(foreign, np.float32).reshape(-1, width), read])
    identities = [plan.faces[number].identity for number in trained]
    found = bank(embeddings[trained], identities, stacked, settings.seed, settings.negatives.least)
    if found.foreign == 0:
        logger.warning(
            "There are no negatives: no faces of other people in %s, in groups or in a bank. %d random embeddings "
            "stand in for them, which teach little; some hundred photos of other people would do better.",
            settings.data / "negatives",
            found.filled,
        )
    return found


def _cache(
    plan: CachePlan, negatives: NegativeBank, models: PreparationModels, shards: Shards, settings: PrepareSettings
) -> Cache:
    return Cache(
        identities=plan.identities,
        images=plan.images,
        faces=plan.faces,
        arcface=torch.from_numpy(plan.embeddings()),
        negatives=negatives.negatives,
        dummies=tuple(text_key(models.fingerprints["text"], text) for text in dummy_texts(settings.max_faces)),
        base=models.base,
        texts=models.text.names,
        tensors=shards,
        second=torch.from_numpy(plan.embeddings(second=True)) if models.second else None,
        fingerprints=models.fingerprints,
        data=_data_fingerprint(plan),
        files=models.files,
        text_encoders={name: str(path) for name, path in settings.encoders.text_paths.items()},
    )


def _data_fingerprint(plan: CachePlan) -> str:
    digest = sha256(repr(plan.identities).encode())
    for image in plan.images:
        digest.update(repr((image.name, image.digest, image.caption, image.held_out)).encode())
    for face in plan.faces:
        digest.update(repr((face.identity, face.image, face.box, *face.jittered)).encode())
    return digest.hexdigest()


def _used(cache: Cache, detected: Sequence[DetectedPhoto], models: PreparationModels, shards: Shards) -> Iterator[str]:
    """Names of the tensors that this cache, or the next run on these photos, reads."""
    first = {each.digest: key_of("detection", models.fingerprints["faces"], each.digest) for each in detected}
    keys = set(first.values()) | {key_of("second", models.fingerprints.get("second"), key) for key in first.values()}
    keys |= {crop.latent for image in cache.images for crop in image.crops}
    keys |= {caption_key(models, each.digest) for each in detected}
    keys |= {key for face in cache.faces for key in face.jittered}
    keys |= {image.text for image in cache.images} | {face.siglip for face in cache.faces} | set(cache.dummies)
    return (name for name in shards if name.partition(".")[0] in keys)


def _photos_by_person(plan: CachePlan) -> dict[str, list[PersonPhoto]]:
    """What is trained on; held-out photos teach nothing."""
    found: dict[str, list[PersonPhoto]] = {person: [] for person in plan.identities}
    for photo, image in zip(plan.photos, plan.images, strict=True):
        for number, person in photo.names.items():
            face = photo.detected.faces[number]
            if not image.held_out:
                found[person].append(
                    PersonPhoto(face.embedding, face.landmarks_px, photo.detected.hash, len(photo.detected.faces))
                )
    return found


def _workers(settings: PrepareSettings) -> int:
    return settings.workers or os.cpu_count() or 1


def _shard_bytes(settings: PrepareSettings) -> int:
    return int(settings.shard_mb * 2**20)


def _bar(items: Iterable[Item], total: int, what: str, unit: str) -> Iterable[Item]:
    return tqdm(items, total=total, desc=what, unit=unit, disable=None)
