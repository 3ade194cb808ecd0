"""The palette: colors of skin, hair, eyes and clothes as RGB float [3] from 0 to 255."""

import numpy as np

from .person import Person

Color = np.ndarray
INK = np.array([52.0, 38.0, 44.0])
WHITE = np.array([253.0, 250.0, 244.0])
_SKIN = np.array([[255, 228, 208], [246, 202, 170], [224, 168, 126], [178, 120, 82], [136, 88, 62], [104, 67, 52]])
# black, brown, ginger, blond, white, rose, violet, blue, green
_HAIR = np.array(
    [
        [40, 36, 48],
        [98, 56, 36],
        [196, 88, 36],
        [244, 196, 88],
        [240, 236, 226],
        [240, 124, 164],
        [134, 96, 196],
        [56, 140, 196],
        [58, 160, 112],
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


def ramp(colors: np.ndarray, place: float) -> Color:
    """The color at place 0 to 1 on the way through all the colors [N, 3]."""
    at = min(max(place, 0.0), 1.0) * (len(colors) - 1)
    low = min(int(at), len(colors) - 2)
    return colors[low] + (at - low) * (colors[low + 1] - colors[low])


def mix(first: Color, second: Color, fraction: float) -> Color:
    """`first` moved towards `second` by fraction, 0 to 1."""
    return first + (second - first) * fraction


def skin(person: Person) -> Color:
    """Base color of the skin."""
    return ramp(_SKIN, person.between("skin_depth", 0, 1))


def shade(color: Color, fraction: float = 0.25) -> Color:
    """The color in warm shadow."""
    return mix(color, color * (0.62, 0.46, 0.48), fraction)


def hair(person: Person) -> Color:
    """A color of the ramp, up to a fifth lighter or darker."""
    base = ramp(_HAIR, person.between("hair_hue", 0, 1))
    light = person["hair_lightness"]
    return mix(base, WHITE, 0.2 * light) if light > 0 else base * (1 + 0.2 * light)


def iris(person: Person) -> Color:
    """Color of the eyes."""
    return ramp(_IRIS, person.between("iris_hue", 0, 1))


def clothes(place: float) -> Color:
    """Color number `place`, 0 to 1, of garments."""
    return _CLOTHES[int(place * len(_CLOTHES)) % len(_CLOTHES)].astype(float)
