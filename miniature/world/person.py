"""Who somebody is: a point in a space of bold traits, which pose, expression, light and clothes leave alone."""

from dataclasses import dataclass

import numpy as np

SEED = 20_260
TRAITS = (
    "face_width",
    "jaw",
    "skin_depth",
    "eye_size",
    "eye_tilt",
    "iris_hue",
    "brow_thickness",
    "nose_width",
    "mouth_width",
    "lip_color",
    "hair_length",
    "hair_volume",
    "hair_parting",
    "hair_fringe",
    "hair_curl",
    "hair_hue",
    "hair_lightness",
    "beard",
    "moustache",
    "glasses",
    "glasses_hue",
)
_PLACE_OF = {name: place for place, name in enumerate(TRAITS)}


@dataclass(frozen=True, eq=False)
class Person:
    """An identity.

    traits: float32 [T], each in [-1, 1], in the order of TRAITS.
    """

    traits: np.ndarray

    def __post_init__(self) -> None:
        """Raises ValueError for a wrong number of traits or one outside [-1, 1]."""
        if self.traits.shape != (len(TRAITS),) or not (np.abs(self.traits) <= 1).all():
            raise ValueError(f"a person has {len(TRAITS)} traits, each from -1 to 1; came {self.traits!r}")

    def __getitem__(self, trait: str) -> float:
        """The trait of this name, in [-1, 1]."""
        return float(self.traits[_PLACE_OF[trait]])

    def between(self, trait: str, least: float, most: float) -> float:
        """The trait mapped from [-1, 1] to [least, most]."""
        return least + (most - least) * (self[trait] + 1) / 2


def person_of(index: int) -> Person:
    """The person with this number (>= 0), always the same one; numbers below 1,000,000 are for training.

    Traits are uniform, for people near the middle of the space would all look alike.
    """
    rng = np.random.default_rng([SEED, index])
    return Person(rng.uniform(-1, 1, len(TRAITS)).astype(np.float32))
