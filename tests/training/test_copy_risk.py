"""The risk of copying, told from the photos alone."""

import numpy as np
import pytest
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training import people
from withanyone_pack.tests.training.photo_changes import changed

from training.preparing.copy_risk import PersonPhoto, assess_people, assess_person, risk_level
from training.preparing.preparing import prepare
from withanyone_core.faces.alignment import TEMPLATE_PX


def landmarks(turn=0.0, smile=0.0):
    """ArcFace's template with the nose moved by so many eye distances and the mouth wider by so much of its width."""
    points = TEMPLATE_PX.copy()
    points[2, 0] += turn * 35.24
    points[3, 0] -= smile * 29.2 / 2
    points[4, 0] += smile * 29.2 / 2
    return points


def photos(count, spread=1.0, turns=0.25, smiles=0.15, seed=0, people=1):
    """Photos of one person; cosines between them are about 1 - spread / 2."""
    rng = np.random.default_rng([3, seed])
    found = []
    for number in range(count):
        unit = np.sqrt(1 - spread / 2) * coded.direction(1) + np.sqrt(spread / 2) * coded.direction(1, number + 1)
        points = landmarks(turns * rng.uniform(-1, 1), smiles * rng.uniform(-1, 1))
        found.append(PersonPhoto(20 * unit, points, int(rng.integers(2**62)), people))
    return found


def test_constructed_folders_are_ranked():
    """Near-duplicates are worst, one pose in similar photos next, many different photos best."""
    repeats = photos(15, spread=0.02, turns=0.01, smiles=0.01)
    one_pose = photos(15, spread=0.5, turns=0.02, smiles=0.02)
    varied = photos(15, spread=1.0)
    risks = [assess_person("x", folder).risk for folder in (repeats, one_pose, varied)]
    assert risks == sorted(risks, reverse=True)
    assert [risk_level(risk) for risk in risks] == ["high", "medium", "low"]
    assert min(np.subtract(risks[:-1], risks[1:])) > 0.2


@pytest.mark.parametrize(
    ("part", "worse", "better"),
    [
        ("similarity", {"spread": 0.3}, {"spread": 0.9}),
        ("pose", {"turns": 0.02}, {"turns": 0.3}),
        ("expression", {"smiles": 0.01}, {"smiles": 0.2}),
    ],
)
def test_each_part_sees_its_own_fault_alone(part, worse, better):
    bad, good = (assess_person("x", photos(15, **kind)) for kind in (worse, better))
    assert bad.parts[part] > good.parts[part] + 0.3
    assert bad.risk > good.risk
    for other in bad.parts.keys() - {part}:
        assert bad.parts[other] == pytest.approx(good.parts[other], abs=0.12)


def test_few_photos_are_a_risk_and_one_is_certain():
    risks = [assess_person("x", photos(count)).risk for count in (1, 2, 5, 15, 40)]
    assert risks[0] == 1.0
    assert risks == sorted(risks, reverse=True)
    assert "a second photo at least" in assess_person("x", photos(1)).advice[0]


def test_near_duplicates_are_counted_by_hash_and_by_face():
    folder = photos(10)
    same_hash = [*folder, PersonPhoto(photos(40)[30].embedding, landmarks(), folder[0].hash ^ 0b111, 1)]
    assert assess_person("x", folder).repeats == 0
    assert assess_person("x", same_hash).repeats == 2
    same_face = [*folder, PersonPhoto(folder[4].embedding * 1.1, landmarks(), 5, 1)]
    assert assess_person("x", same_face).repeats == 2


def test_what_to_add():
    found = assess_person("x", photos(6, spread=0.1, turns=0.01, smiles=0.01))
    words = " ".join(found.advice)
    for part in ("other days", "none looks left or right", "laughing", "9 more photos"):
        assert part in words
    assert assess_person("x", photos(15)).advice == ()


def test_the_whole_lacks_group_photos_and_strangers():
    alone = assess_people({"x": photos(15)}, foreign=0)
    assert len(alone.advice) == 3
    assert assess_people({"x": photos(15, people=2), "y": photos(15)}, foreign=600).advice == ()
    assert assess_people({"x": photos(15), "y": photos(1)}, 600).risk == pytest.approx(
        (assess_person("x", photos(15)).risk + 1) / 2
    )


def test_turned_heads_are_seen_on_both_sides():
    folder = [
        PersonPhoto(coded.embedding_of(1, number), landmarks(turn), number * 2**40, 1)
        for number, turn in enumerate((-0.3, 0, 0, 0.2))
    ]
    assert assess_person("x", folder).turned == (1, 2, 1)


@pytest.mark.comfyui  # the detector that stands in for insightface's comes with the test bed
def test_real_photographs_are_ranked(tmp_path):
    """One person of a real group photo: hardly changed copies, and copies as if of other days and turned about."""
    image = people.person(3)[..., ::-1]
    rng = np.random.default_rng(0)
    risks = {}
    for name, strength in (("copies", 0.03), ("varied", 1.0)):
        for number in range(8):
            coded.save(tmp_path / f"{name}/identities/alice/{number}.png", changed(image, rng, strength))
        settings = coded.settings(
            tmp_path / name, tmp_path / f"{name} cache", duplicate_bits=0, sizes=(128,), held_out=0
        )
        done = prepare(settings, lambda: coded.models(faces=people.analysis(), second=None))
        assert done.cache.identities == ("alice",)
        risks[name] = done.findings.people[0]
    assert risks["copies"].risk > risks["varied"].risk + 0.2
    assert risks["copies"].repeats > risks["varied"].repeats
