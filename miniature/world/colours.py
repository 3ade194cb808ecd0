"""The palette: colours of skin, hair, eyes and clothes as RGB float [3] from 0 to 255."""

import numpy as np

from .person import Person

Colour = np.ndarray
INK = np.array([52.0, 38.0, 44.0])
WHITE = np.array([253.0, 250.0, 244.0])
_SKIN = np.array([[255, 228, 208], [246, 202, 170], [224, 168, 126], [178, 120, 82], [136, 88, 62], [104, 67, 52]])
_HAIR = np.array(
    [
        [74, 128, 168],
        [46, 46, 74],
        [56, 38, 34],
        [112, 66, 40],
        [176, 78, 40],
        [226, 166, 78],
        [238, 208, 150],
        [222, 120, 144],
    ]
)
_IRIS = np.array([[92, 60, 38], [150, 98, 44], [104, 138, 70], [62, 150, 146], [74, 126, 196], [128, 140, 168]])
_CLOTHES = np.array(
    [
        [214, 84, 72],
        [240, 178, 74],
        [88, 152, 108],
        [64, 128, 160],
        [58, 74, 122],
        [146, 96, 150],
        [236, 224, 202],
        [96, 90, 96],
    ]
)


def ramp(colours: np.ndarray, place: float) -> Colour:
    """The colour at place 0 to 1 on the way through all the colours [N, 3]."""
    at = min(max(place, 0.0), 1.0) * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    return colours[low] + (at - low) * (colours[low + 1] - colours[low])


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` moved towards `second` by share, 0 to 1."""
    return first + (second - first) * share


def skin(person: Person) -> Colour:
    """Base colour of the skin; warmth takes it towards rose or olive."""
    base = ramp(_SKIN, person.between("skin_depth", 0, 1))
    return np.clip(base + person["skin_warmth"] * np.array([6.0, -7.0, -12.0]), 0, 255)


def shade(colour: Colour, share: float = 0.25) -> Colour:
    """The colour in warm shadow."""
    return mix(colour, colour * (0.62, 0.46, 0.48), share)


def hair(person: Person) -> Colour:
    """Natural colours in the middle of the hue, blue and rose at its ends."""
    base = ramp(_HAIR, person.between("hair_hue", 0, 1))
    light = person["hair_lightness"]
    return mix(base, WHITE, 0.28 * light) if light > 0 else base * (1 + 0.35 * light)


def iris(person: Person) -> Colour:
    """Colour of the eyes."""
    return np.clip(ramp(_IRIS, person.between("iris_hue", 0, 1)) * person.between("iris_lightness", 0.7, 1.3), 0, 255)


def clothes(place: float) -> Colour:
    """Colour number `place`, 0 to 1, of garments, hats and frames."""
    return _CLOTHES[int(place * len(_CLOTHES)) % len(_CLOTHES)].astype(float)
