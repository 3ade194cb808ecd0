"""Sampling of training images: which image, whose face, and which photo is the reference; with its negatives."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import numpy as np
import torch

from withanyone_core.tolerance import SLACK

from ..cache.cache import Cache
from ..cache.entries import UNKNOWN, BoxFractions
from ..cache.files import read_cache
from ..configuration.finetune import DataSettings, Finetune
from ..losses.contrast import Bank, drawn_mix
from ..preparing.reasons import first_of
from .draws import Draws
from .own_tokens import chosen_person

# Of two photos of a person: below, one of them is of somebody else; above, unless configured otherwise, the same shot.
MIN_SIMILARITY, SAME_SHOT_SIMILARITY = 0.2, 0.95
LOGGER = logging.getLogger("withanyone")
Place = tuple[int, int]  # image, crop
Bucket = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True, eq=False)
class Person:
    """One person of a sample.

    face       index of the face to be generated, in the cache
    box        fractions of the crop
    landmarks  float32 [5, 2], fractions of the crop
    reference  index of the reference face: `face` itself, or another photo's
    averaged   indices of the faces whose mean embedding is the reference instead; empty: the reference's own
    flipped    whether the reference's SigLIP tokens are those of its mirror image
    shown      whether the person's tokens are there at all
    odd        whether the face is too unlike the person's others for an identity loss
    variant    which jittered crop of the reference the SigLIP tokens are of; 0: the crop itself
    """

    face: int
    box: BoxFractions
    landmarks: np.ndarray
    reference: int
    flipped: bool = False
    shown: bool = True
    averaged: tuple[int, ...] = ()
    odd: bool = False
    variant: int = 0


@dataclass(frozen=True, eq=False)
class Sample:
    """One image to be generated. `captioned` is false where the text is only the number of people."""

    image: int
    crop: int
    people: tuple[Person, ...]
    captioned: bool
    draws: Draws

    @property
    def judged(self) -> tuple[Person, ...]:
        """Whom the identity losses look at."""
        return tuple(person for person in self.people if person.shown and not person.odd)


class Sampler:
    """Draws samples of a cache, every person equally often however many photos there are of each."""

    def __init__(
        self,
        cache: Cache,
        max_people: int,
        person: str = "",
        same_shot_similarity: float = SAME_SHOT_SIMILARITY,
        min_target_cos: float = -1.0,
    ) -> None:
        """Only images of the person of that name are drawn where one is named.

        same_shot_similarity  photos of a person with a larger cosine are the same shot; 1: none are
        min_target_cos        of a face to its person's other photos, under which no identity loss looks at it

        ValueError where the cache has nothing to train on.
        """
        self.cache = cache
        self._most_likeness = (
            same_shot_similarity if same_shot_similarity < 1 else np.inf
        )  # a computed cosine may be above 1
        self._units = _units(cache.arcface.numpy())
        self._faces_of = _faces_of(cache)
        self.odd_faces = frozenset(_odd_faces(self._faces_of, self._units, min_target_cos))
        self._places = _places(cache, max_people)
        if person:
            own = [index for index, name in enumerate(cache.identities) if name == person]
            self._places = {index: self._places[index] for index in own if index in self._places}
        self._in_bucket: dict[Bucket, dict[int, list[Place]]] = defaultdict(dict)
        for identity, places in self._places.items():
            for place in places:
                self._in_bucket[self._bucket(place)].setdefault(identity, []).append(place)
        if not self._places:
            raise ValueError(
                f"No image of {person or 'the cache'} can be trained on: {len(cache.images)} images, of which "
                f"{sum(image.held_out for image in cache.images)} are held out; those with 1 to {max_people} "
                "people count. Prepare more photos, or raise data.max_people."
            )

    def micro_batch(
        self, settings: DataSettings, seed: int, step: int, first: int, count: int, part: int = 0, parts: int = 1
    ) -> tuple[Sample, ...]:
        """Samples `first` .. `first + count - 1` of a step; all have one size, that of the first.

        Of several processes each takes its part, `count / parts` samples in a row: together they are the same samples
        as one process would draw. ValueError where they cannot be shared evenly.
        """
        if count % parts:
            raise ValueError(f"{count} samples cannot be spread evenly over {parts} processes; each needs as many.")
        own = range(first + part * count // parts, first + (part + 1) * count // parts)
        # Each process draws the first sample of the micro-batch, whose size all others take.
        leading = self._place(Draws(seed, step, first), self._places)
        same = self._in_bucket[self._bucket(leading)]
        draws = [Draws(seed, step, sample) for sample in own]
        places = [leading if draw.sample == first else self._place(draw, same) for draw in draws]
        return tuple(self._sample(settings, place, draw) for place, draw in zip(places, draws, strict=True))

    def reference(self, face: int, draws: Draws, purpose: str) -> int | None:
        """Another photo of the same person at random, None where there is none that is neither wrong nor the same."""
        others = self.references(face)
        return int(others[draws.below(purpose, len(others))]) if len(others) else None

    def references(self, face: int) -> np.ndarray:
        """All other photos of the same person that are neither wrong nor the same, int64 [photos]; none held out."""
        record = self.cache.faces[face]
        if record.identity == UNKNOWN:
            return np.zeros(0, np.int64)
        others = self._faces_of[record.identity]
        others = others[[self.cache.faces[other].image != record.image for other in others]]
        likeness = self._units[others] @ self._units[face]
        return others[(likeness >= MIN_SIMILARITY - SLACK) & (likeness <= self._most_likeness + SLACK)]

    def _place(self, draws: Draws, places: Mapping[int, Sequence[Place]]) -> Place:
        """A place of a person drawn evenly; images of nobody known come as often as there are of them."""
        # Sorted: what is drawn is an index, and must not depend on the order of the cache's images.
        known = sorted(identity for identity in places if identity != UNKNOWN)
        strangers = len(places.get(UNKNOWN, ()))
        total = sum(map(len, places.values()))
        identity = UNKNOWN
        if known and not draws.happens("strangers", strangers / total):
            identity = known[draws.below("identity", len(known))]
        return places[identity][draws.below("place", len(places[identity]))]

    def _variant(self, settings: DataSettings, draws: Draws, number: int) -> int:
        variants = self.cache.variants
        if variants == 0 or not draws.happens(f"jitter {number}", settings.jitter):
            return 0
        return 1 + draws.below(f"variant {number}", variants)

    def _bucket(self, place: Place) -> Bucket:
        image, crop = place
        return self.cache.bucket(self.cache.images[image], crop)[:2]

    def _sample(self, settings: DataSettings, place: Place, draws: Draws) -> Sample:
        image, crop = place
        people = []
        # A draw's name holds the person's number, so that nobody's draws shift with those of the others.
        for number, face in enumerate(self.cache.images[image].crops[crop].faces):
            reference, averaged = None, ()
            if draws.happens(f"paired {number}", settings.paired_ratio):
                reference = self.reference(face.face, draws, f"reference {number}")
                if settings.references == "mean" and not draws.happens(f"single {number}", settings.single_ratio):
                    averaged = tuple(self.references(face.face).tolist())
            people.append(
                Person(
                    face.face,
                    face.box,
                    face.landmarks,
                    face.face if reference is None else reference,
                    flipped=draws.happens(f"flip {number}", settings.flip),
                    shown=not draws.happens(f"drop {number}", settings.id_dropout),
                    averaged=averaged,
                    odd=face.face in self.odd_faces,
                    variant=self._variant(settings, draws, number),
                )
            )
        return Sample(image, crop, tuple(people), not draws.happens("text", settings.text_dropout), draws)


@dataclass(frozen=True, eq=False)
class Source:
    """A cache ready to be drawn from; `bank` is None where no extended negatives are asked for."""

    cache: Cache
    sampler: Sampler
    bank: Bank | None
    device_bank: Bank | None

    @classmethod
    def of(cls, cache: Cache, settings: Finetune, device: torch.device) -> "Source":
        """ValueError where nothing can be trained on, or negatives are asked for and there are none."""
        bank = None
        if settings.nce.weight > 0 and settings.nce.negatives > 0:
            negatives = cache.negatives
            if len(negatives.embeddings) == 0:
                raise ValueError(
                    "The cache has no negatives: nobody the people could be told apart from. Prepare it again with "
                    "photos of other people, or set nce.negatives=0 (then only the people of a batch count)."
                )
            bank = Bank.of(negatives.embeddings, negatives.identities)
            _log_mix(bank, settings.nce.negatives)
        # Only the one person's images can teach that person's tokens.
        person = chosen_person(cache, settings.train.identity) if settings.train.mode == "tokens" else ""
        data, least = settings.data, settings.id_loss.min_target_cos
        if data.jitter > 0 and cache.variants == 0:
            raise ValueError(
                "data.jitter is set and the cache has no jittered references. Prepare it again with jitter.variants=4 "
                "(and a SigLIP tower), or set data.jitter=0."
            )
        sampler = Sampler(cache, data.max_people, person, data.same_shot_cos, least)
        _log_odd_targets(sampler, least)
        # The CPU's bank is for drawing rows in the prefetching thread, the device's for their cosines.
        return cls(cache, sampler, bank, bank and bank.to(device))


class Sources:
    """The sources of a run's phases, opened when first needed, by any thread."""

    def __init__(self, device: torch.device, opened: dict[Path, Cache] | None = None) -> None:
        self._device = device
        self._caches = dict(opened or {})
        self._sources: dict[tuple[object, ...], Source] = {}
        # Reentrant: `at` opens a cache while it holds the lock.
        self._lock = RLock()

    def cache(self, path: Path) -> Cache:
        with self._lock:
            if path not in self._caches:
                self._caches[path] = read_cache(path)
            return self._caches[path]

    def at(self, settings: Finetune) -> Source:
        """The source of a phase's settings."""
        with_bank = settings.nce.weight > 0 and settings.nce.negatives > 0
        data = settings.data
        key = (
            data.cache,
            data.max_people,
            data.same_shot_cos,
            with_bank,
            settings.id_loss.min_target_cos,
            data.jitter > 0,
        )
        with self._lock:
            if key not in self._sources:
                self._sources[key] = Source.of(self.cache(settings.data.cache), settings, self._device)
            return self._sources[key]


def _faces_of(cache: Cache) -> Mapping[int, np.ndarray]:
    found: dict[int, list[int]] = defaultdict(list)
    for index, face in enumerate(cache.faces):
        if not cache.images[face.image].held_out:
            found[face.identity].append(index)
    return {identity: np.array(faces) for identity, faces in found.items()}


def _odd_faces(faces_of: Mapping[int, np.ndarray], units: np.ndarray, least: float) -> Iterator[int]:
    """Faces of known people whose cosine to the mean direction of the person's others is smaller."""
    for identity, faces in faces_of.items():
        if identity == UNKNOWN or len(faces) < 2:
            continue
        others = units[faces].sum(axis=0) - units[faces]
        cosines = (_units(others) * units[faces]).sum(axis=1)
        yield from faces[cosines < least - SLACK].tolist()


def _log_mix(bank: Bank, count: int) -> None:
    if len(bank.sizes_G) < 2:  # drawing says what is missing
        return
    known, strangers, fillers = drawn_mix(bank, count)
    LOGGER.info(
        "Of the %d negatives of a face %.0f are faces of other trained people, %.0f of other people, and %.0f random "
        "embeddings.",
        count,
        known,
        strangers,
        fillers,
    )
    if fillers > count / 2:
        LOGGER.warning(
            "%.0f of the %d negatives of a face are random embeddings, which teach little: put photos of other people "
            "into negatives, or name a bank of faces as negatives.bank, and prepare again.",
            fillers,
            count,
        )


def _log_odd_targets(sampler: Sampler, least: float) -> None:
    if sampler.odd_faces:
        cache = sampler.cache
        names = [cache.images[cache.faces[face].image].name for face in sorted(sampler.odd_faces)]
        LOGGER.warning(
            "%d target faces are less like their person than cosine %g (id_loss.min_target_cos): not judged are %s.",
            len(names),
            least,
            first_of(names),
        )


def _places(cache: Cache, max_people: int) -> dict[int, list[Place]]:
    """Crops to train on by the people in them; a crop of several known people is listed with each."""
    places: dict[int, list[Place]] = defaultdict(list)
    for image in cache.images:
        for crop, cut in enumerate(image.crops):
            if image.held_out or not 1 <= len(cut.faces) <= max_people:
                continue
            identities = {cache.faces[face.face].identity for face in cut.faces} - {UNKNOWN}
            for identity in identities or {UNKNOWN}:
                places[identity].append((image.index, crop))
    return dict(places)


def _units(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
