"""Who judges the images of a search, and what is to be said of that."""

import logging
from collections.abc import Sequence

import numpy as np

from ..faces.face_analysis import FaceAnalysis
from ..meter.measuring import Meter
from ..regions.layout import PlacedFace
from .rules import People, people_of

LOGGER = logging.getLogger("withanyone")
FLATTERS = (
    "Warning: the judge {judge} {how}. A recognizer flatters images that it conditions; connect another one to "
    "face_analysis."
)
MADE_THEM = "made the embeddings that these images are conditioned on"
MAY_HAVE_MADE_THEM = "may have made the embeddings that these images are conditioned on (one of both has no name)"
TRAINED_WITH = "took part in the adapter's training"
UNKNOWN_COPYING = (
    "Copy-paste is unknown: there are no second photos. Similarity is that to the reference photos, which copying "
    "raises too."
)


class SearchJudge:
    """Measures images as Identity Meter does, and warns in the log where the judge also conditions them."""

    def __init__(
        self, people: Sequence[PlacedFace], analysis: FaceAnalysis, second_photos: Sequence[np.ndarray] = ()
    ) -> None:
        """
        people         of the images, none of weight 0
        second_photos  another photo of each, RGB [H, W, 3] uint8, in the order of the people

        Raises ValueError where nobody is expected, or the photos are not as many as the people.
        """
        self._meter = Meter(people, analysis, second_photos=second_photos)
        self._notes = {}  # a set that keeps its order
        how = _conditioning(people, getattr(analysis, "model_name", ""), self._meter.judge.trained_with)
        if how:
            warning = FLATTERS.format(judge=self._meter.judge.name, how=how)
            LOGGER.warning(warning)
            self._notes[warning] = True
        if not second_photos:
            self._notes[UNKNOWN_COPYING] = True

    @property
    def names(self) -> tuple[str, ...]:
        """What the people are called: number, from 1, and name."""
        return self._meter.people

    @property
    def notes(self) -> tuple[str, ...]:
        """About the judge and the photos, as far as anything was judged."""
        return tuple(self._notes)

    def judge(self, photo: np.ndarray) -> People:
        """Everybody in an image, RGB [H, W, 3] uint8. Raises ValueError for somebody who cannot be compared."""
        measured = self._meter.measure([photo])
        self._notes |= dict.fromkeys(measured.notes, True)
        return people_of(measured.scores[0])


def _conditioning(people: Sequence[PlacedFace], model_name: str, trained_with: bool) -> str:
    """How a judge takes part in what it judges; empty where it does not."""
    made = {face.identity.face_model for face in people}
    if model_name and model_name in made:
        return MADE_THEM
    if not model_name or "" in made:
        return MAY_HAVE_MADE_THEM
    return TRAINED_WITH if trained_with else ""
