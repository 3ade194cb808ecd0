"""Which photos of a folder are one photo: by how they look, not by who is in them alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from withanyone_pack.miniature.world import Look, Placed, Scene, person_of, render
from withanyone_pack.withanyone_core.identity import Face
from withanyone_pack.withanyone_core.identity_check.calibration import Levels
from withanyone_pack.withanyone_core.identity_check.people import read_people
from withanyone_pack.withanyone_core.identity_check.reading import FaceReader

SIDE = 160
POSE = Look(yaw=-4.0, expression="happy")


class OnePerson:
    """Finds one face where it was drawn and reads it alike, however it looks."""

    def __init__(self, landmarks_px):
        self._landmarks_px = landmarks_px

    def faces(self, image):
        box = (40.0, 40.0, 120.0, 120.0)
        return (Face(box, 0.9, self._landmarks_px[image.shape[0], int(image[0, 0, 0])], np.eye(1, 64)[0]),)

    def best_score(self, image):
        return 0.9


def test_two_photos_that_a_recognizer_cannot_tell_apart_count_twice_and_a_copy_once(tmp_path):
    (tmp_path / "Ann").mkdir()
    landmarks_px = {}
    poses = {"0": POSE, "1": replace(POSE, yaw=30.0, expression="sad"), "2": POSE}
    for number, (name, pose) in enumerate(poses.items()):
        drawn = render(
            Scene((Placed(person_of(1_700_000), pose, (0.5, 0.5), 0.5),), "studio", "daylight", 0), SIDE, SIDE
        )
        pixels = drawn.pixels.copy()
        pixels[0, 0] = number
        landmarks_px[SIDE, number] = (drawn.faces[0].landmarks * SIDE).astype(np.float32)
        Image.fromarray(pixels).save(tmp_path / "Ann" / f"{name}.png")
    people = read_people(tmp_path, FaceReader(OnePerson(landmarks_px), "one person"), Levels())
    assert [photo.path for photo in people.people[0].photos] == [
        tmp_path / "Ann" / Path(f"{name}.png") for name in "01"
    ]
    assert people.notes == ("Ann: 2.png is 0.png once more and counts once.",)
