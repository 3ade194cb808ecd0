"""Which explanation a face gets, from its similarities alone."""

from pathlib import Path

import numpy as np
import pytest
from withanyone_pack.withanyone_core.identity_check.calibration import Levels, calibrate
from withanyone_pack.withanyone_core.identity_check.values import Person, Photo
from withanyone_pack.withanyone_core.identity_check.weighing import Explanation, weigh

WIDTH = 12


def photo(embedding):
    return Photo(Path("photo.png"), (0.0, 0.0, 1.0, 1.0), embedding / np.linalg.norm(embedding), None)


@pytest.fixture(scope="module")
def calibration():
    """Photos of one person are much alike; how alike two people are differs widely."""
    random = np.random.default_rng(0)
    people = [
        Person(name, tuple(photo(middle + 0.12 * random.normal(size=WIDTH)) for _ in range(6)))
        for name, middle in zip("abcdefgh", random.normal(size=(8, WIDTH)), strict=True)
    ]
    return calibrate(people, Levels())


@pytest.mark.parametrize("similarities", [(0.5, 0.5), (0.8, 0.45), (0.45, 0.8)])
def test_a_blend_need_not_be_half_and_half(calibration, similarities):
    weighed = weigh(np.array(similarities), (0, 1), 0, calibration)
    assert weighed.best == Explanation((0, 1))
    assert weighed.is_decided


@pytest.mark.parametrize(("similarities", "people"), [((0.93, 0.05), (0,)), ((0.02, 0.95), (1,)), ((0.05, 0.0), ())])
def test_one_person_and_a_stranger_stay_what_they_are(calibration, similarities, people):
    weighed = weigh(np.array(similarities), (0, 1), 0, calibration)
    assert weighed.best == Explanation(people)
    assert weighed.is_decided
