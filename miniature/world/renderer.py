"""From a scene to its image and to where its faces are."""

from dataclasses import dataclass

import cv2
import numpy as np

from .backdrop import draw_backdrop
from .body import draw_body
from .brush import Brush
from .eyes import draw_brows, draw_eyes, eye_centers
from .glasses import draw_glasses
from .hair import draw_back_hair, draw_front_hair
from .head import Head, head_in
from .light import LIGHT_OF, Light
from .mouth import draw_beard, draw_mouth, mouth_corners
from .scene import Placed, Scene
from .skin import draw_ears, draw_face, draw_nose, nose_tip

_OVER = 2


@dataclass(frozen=True, eq=False)
class SeenFace:
    """Where a face is in the image.

    box: (x1, y1, x2, y2), fractions. landmarks: float32 [5, 2], fractions; left eye, right eye, nose tip, left and
    right corner of the mouth, left and right as the viewer sees them.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray


@dataclass(frozen=True, eq=False)
class Image:
    """pixels: uint8 RGB [H, W, 3]. faces: in the order of the scene's people."""

    pixels: np.ndarray
    faces: tuple[SeenFace, ...]


def render(scene: Scene, width: int, height: int) -> Image:
    """The scene at this size in pixels; the same scene always gives the same pixels."""
    light = LIGHT_OF[scene.light]
    backdrop = draw_backdrop(scene.place, scene.backdrop_seed, width, height)
    canvas = cv2.resize(backdrop, (width * _OVER, height * _OVER), interpolation=cv2.INTER_LINEAR)
    heads = [_head(placed, width * _OVER, height * _OVER) for placed in scene.people]
    brush = Brush(canvas)
    for head in sorted(heads, key=lambda head: float(head.box[3])):
        _draw_person(brush, head, light)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return Image(light.grade(small), _seen_of(heads, width, height))


def seen_faces(scene: Scene, width: int, height: int) -> tuple[SeenFace, ...]:
    """Where the faces of an image of this size are, without drawing it."""
    return _seen_of([_head(placed, width * _OVER, height * _OVER) for placed in scene.people], width, height)


def _seen_of(heads: list[Head], width: int, height: int) -> tuple[SeenFace, ...]:
    whole = np.array([width, height]) * _OVER
    return tuple(_seen(head, whole) for head in heads)


def _head(placed: Placed, width: int, height: int) -> Head:
    center = (placed.center[0] * width, placed.center[1] * height)
    return head_in(placed.person, placed.look, center, placed.size * min(width, height))


def _draw_person(brush: Brush, head: Head, light: Light) -> None:
    draw_back_hair(brush, head)
    draw_body(brush, head, light)
    draw_ears(brush, head, in_front=False)
    draw_face(brush, head, light)
    draw_beard(brush, head)
    draw_mouth(brush, head)
    draw_nose(brush, head)
    draw_eyes(brush, head)
    draw_ears(brush, head, in_front=True)
    draw_front_hair(brush, head)
    draw_brows(brush, head)
    draw_glasses(brush, head)


def _seen(head: Head, whole: np.ndarray) -> SeenFace:
    points = np.concatenate([eye_centers(head), [nose_tip(head)], mouth_corners(head)]) / whole
    box = head.box / np.tile(whole, 2)
    left, top, right, bottom = (float(edge) for edge in box)
    return SeenFace((left, top, right, bottom), points.astype(np.float32))
