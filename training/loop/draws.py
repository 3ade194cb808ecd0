"""Every random number of a run, by what it is for: the same seed, step and sample always give the same draw.

No generator lives from one step to the next, so a resumed run draws what an uninterrupted one does.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """The draws of one sample of one step."""

    seed: int
    step: int
    sample: int = 0

    def generator(self, purpose: str) -> np.random.Generator:
        """A generator of its own for a purpose: one more or fewer draw for another purpose changes nothing here."""
        # Not hash(): Python salts it, so it differs from process to process.
        name = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "little")
        # Philox is counter-based: key and counter are its whole state, and nothing has to be advanced to get to a step.
        # The two low words of the counter are left for the draws themselves.
        return np.random.Generator(np.random.Philox(key=[self.seed, name], counter=[0, 0, self.sample, self.step]))

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Gaussian noise, float32 on the CPU."""
        return torch.from_numpy(self.generator(purpose).standard_normal(shape, dtype=np.float32))

    def uniform(self, purpose: str) -> float:
        """A number from 0 (included) to 1 (excluded)."""
        return float(self.generator(purpose).random())

    def below(self, purpose: str, count: int) -> int:
        """One of 0 .. count - 1."""
        return int(self.generator(purpose).integers(count))

    def happens(self, purpose: str, probability: float) -> bool:
        return self.uniform(purpose) < probability

    def torch_generator(self, purpose: str) -> torch.Generator:
        """A CPU generator for functions of torch."""
        return torch.Generator().manual_seed(int(self.generator(purpose).integers(2**63)))
