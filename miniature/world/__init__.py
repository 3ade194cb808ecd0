"""Drawn people in drawn places: who they are, how they look today, where they stand, and the image of it."""

from .captions import MOST_WORDS, WORDS, caption, words
from .look import DIRECTIONS, EXPRESSIONS, Look, draw_look
from .person import TRAITS, Person, person_of
from .renderer import Image, SeenFace, render
from .scene import LAYOUTS, LIGHTS, PLACES, SIDE_PX, SPOTS, STUDIO, Placed, Scene, Spot, draw_portrait, draw_scene

__all__ = [
    "DIRECTIONS",
    "EXPRESSIONS",
    "LAYOUTS",
    "LIGHTS",
    "MOST_WORDS",
    "PLACES",
    "SIDE_PX",
    "SPOTS",
    "STUDIO",
    "TRAITS",
    "WORDS",
    "Image",
    "Look",
    "Person",
    "Placed",
    "Scene",
    "SeenFace",
    "Spot",
    "caption",
    "draw_look",
    "draw_portrait",
    "draw_scene",
    "person_of",
    "render",
    "words",
]
