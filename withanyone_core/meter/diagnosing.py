"""The identity check's diagnosis for a batch of images and people from ComfyUI."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..identity_check.calibration import Levels, calibrate
from ..identity_check.diagnosis import Diagnosis
from ..identity_check.images import Expected, Place
from ..identity_check.recognizers import KNOWN_LEVELS
from ..identity_check.values import Checked, ImageFile, People, Person, Photo, SeenImage
from ..metrics.case import FaceEmbeddings
from ..metrics.similarity import unit

NO_PLACE = (0.0, 0.0, 1.0, 1.0)


class Diagnoser:
    """Weighs the faces of images against people who came as embeddings.

    Somebody of whom no embedding is known is expected all the same, so that their face is nobody's extra one.
    """

    def __init__(self, people: Mapping[str, tuple[np.ndarray, Place]], judge_name: str) -> None:
        """`people` has of everybody the embeddings [photos, d] of their photos, and their box or None."""
        known = tuple(_person(name, embeddings) for name, (embeddings, _) in people.items() if len(embeddings))
        self._expected = Expected({name: place for name, (_, place) in people.items()})
        levels = KNOWN_LEVELS.get(judge_name, Levels())
        self._diagnosis = Diagnosis(People(known), calibrate(known, levels)) if known else None

    def check(self, name: str, faces: FaceEmbeddings, size_px: tuple[int, int]) -> Checked | None:
        """The findings of one image, None where nobody could be compared."""
        if self._diagnosis is None:
            return None
        seen = SeenImage(Path(name), size_px, faces, None)
        return self._diagnosis.check(ImageFile("", name, Path(name)), seen, self._expected)


def diagnosis_text(checked: Sequence[Checked]) -> str:
    """A line for each image and person."""
    return "\n".join(
        f"{each.image.name}, {finding.person}: {finding.text}{f' ({finding.detail})' if finding.detail else ''}"
        for each in checked
        for finding in each.findings
    )


def _person(name: str, embeddings: np.ndarray) -> Person:
    # An identity does not keep how the photos looked: copies are found by the recognizer alone.
    units = unit(embeddings, f"the photos of {name}")
    return Person(name, tuple(Photo(Path(name), NO_PLACE, each, None) for each in units))
