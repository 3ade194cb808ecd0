"""Drawn people in drawn places: who they are, how they look today, where they stand, and the picture of it."""

from .captions import MOST_WORDS, WORDS, caption, words
from .look import DIRECTIONS, EXPRESSIONS, Look, draw_look
from .person import TRAITS, Person, person_of
from .renderer import Picture, SeenFace, render
from .scene import LIGHTS, PLACES, STUDIO, Placed, Scene, draw_portrait, draw_scene

__all__ = [
    "DIRECTIONS",
    "EXPRESSIONS",
    "LIGHTS",
    "MOST_WORDS",
    "PLACES",
    "STUDIO",
    "TRAITS",
    "WORDS",
    "Look",
    "Person",
    "Picture",
    "Placed",
    "Scene",
    "SeenFace",
    "caption",
    "draw_look",
    "draw_portrait",
    "draw_scene",
    "person_of",
    "render",
    "words",
]
