"""Where samples come from: a cache, who is drawn from it, and whom its people must not resemble."""

from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import torch

from ..cache.cache import Cache
from ..configuration.finetune import Finetune
from ..losses.contrast import Bank
from .person import chosen_person
from .sampling import Sampler


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
            if len(negatives.vectors) == 0:
                raise ValueError(
                    "The cache has no negatives: nobody the people could be told apart from. Prepare it again with "
                    "photos of other people, or set nce.negatives=0 (then only the people of a batch count)."
                )
            bank = Bank.of(negatives.vectors, negatives.identities)
        # Only the one person's images can teach that person's tokens.
        person = chosen_person(cache, settings.train.identity) if settings.train.mode == "tokens" else ""
        sampler = Sampler(cache, settings.data.max_people, person, settings.data.same_shot_cos)
        return cls(cache, sampler, bank, bank and bank.to(device))


class Sources:
    """The sources of a run's phases, opened when first needed, by any thread."""

    def __init__(self, device: torch.device, opened: dict[Path, Cache] | None = None) -> None:
        self._device = device
        self._caches = dict(opened or {})
        self._sources: dict[tuple[object, ...], Source] = {}
        self._lock = RLock()

    def cache(self, path: Path) -> Cache:
        with self._lock:
            if path not in self._caches:
                self._caches[path] = Cache.open(path)
            return self._caches[path]

    def at(self, settings: Finetune) -> Source:
        """The source of a phase's settings."""
        with_bank = settings.nce.weight > 0 and settings.nce.negatives > 0
        key = settings.data.cache, settings.data.max_people, settings.data.same_shot_cos, with_bank
        with self._lock:
            if key not in self._sources:
                self._sources[key] = Source.of(self.cache(settings.data.cache), settings, self._device)
            return self._sources[key]
