"""The evaluation's figures: statistics on made-up verdicts, and the rows they are made of."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from withanyone_pack.tests.training.rooms import add_training

add_training()

from miniature.lab.evidence import metrics
from miniature.lab.evidence.evaluate import Judged
from miniature.lab.evidence.figures import Figure, percentage, ranking, ratio, table
from miniature.lab.evidence.images import Verdict
from miniature.lab.evidence.results import Results
from miniature.lab.evidence.sections import AskedRow, ExchangedRow, PickedRow


def value_of(figures, start):
    (found,) = [figure for figure in figures if figure.name.startswith(start)]
    return found


def seen(people, nearest=None, likeness=None, sim_gt=0.5):
    """An image in which everybody is who they should be, or as said."""
    sure = [[0.9 if place == other else 0.1 for other in range(len(people))] for place in range(len(people))]
    nearest = people if nearest is None else nearest
    ranks = [None if face is None else 12 * (face != person) for face, person in zip(nearest, people, strict=True)]
    faces = [int(face is not None) for face in nearest]
    return Judged(faces, nearest, ranks, sure if likeness is None else likeness, sim_gt, 0.4, 0.1)


def row_of(number, people, **changes):
    said = Verdict(True, True, True, (True,) * len(people), (True,) * len(people))
    likeness = [[0.8 if place == other else 0.1 for other in range(len(people))] for place in range(len(people))]
    values = {
        "asked": seen(people),
        "alone": seen(people, nearest=[199] * len(people)),
        "drawn": people,
        "said": said,
        "alone_said": said,
        "meter": likeness,
        "alone_meter": [[0.05] * len(people) for _ in people],
        "changed": 1.0,
        "by_seed": 4.0,
    }
    return AskedRow(number, people, **(values | changes))


@pytest.fixture
def rows():
    return [row_of(4 * at + count, list(range(at, at + count))) for at in range(10) for count in (1, 2, 3, 4)]


def test_figures_of_a_perfect_adapter(rows):
    exchanged = [
        ExchangedRow(each.number, each.people, seen(each.people, each.people[::-1], [[0.1, 0.9], [0.9, 0.1]]))
        for each in rows
        if len(each.people) == 2
    ]

    figures = metrics.places_figures(rows, exchanged)

    assert all(figure.reached for figure in figures), table(figures)
    assert value_of(figures, "box shows its identity, three people").value == 100
    assert value_of(figures, "exactly one face").value == 100
    assert value_of(figures, "exchanged boxes").value == 100
    assert value_of(figures, "both boxes").value == 100
    assert value_of(figures, "change outside").value == pytest.approx(0.25)


def test_a_lost_face_and_a_stranger_are_missed(rows):
    people = rows[1].people
    rows[1] = replace(rows[1], asked=seen(people, nearest=[None, people[1]]))
    rows[5] = replace(rows[5], asked=seen(rows[5].people, nearest=[77, rows[5].people[1]]))
    figures = metrics._named(rows)
    assert value_of(figures, "box shows its identity, two people").value == pytest.approx(90)
    assert value_of(figures, "exactly one face").value == 99
    assert value_of(figures, "its identity is among").value == 98


def test_boxes_that_do_not_swap_people_are_reported(rows):
    pairs = [each for each in rows if len(each.people) == 2]
    stubborn = [ExchangedRow(each.number, each.people, seen(each.people)) for each in pairs]
    figures = metrics.places_figures(rows, stubborn)
    assert value_of(figures, "exchanged boxes").value == 0
    assert value_of(figures, "both boxes").value == 0
    assert not value_of(figures, "exchanged boxes").reached


def test_identities_at_weight_0_are_more_than_chance(rows):
    known = [replace(each, alone=each.asked) for each in rows]
    assert not value_of([metrics._chance(known, 200)], "face in a box").reached
    nobody = [replace(each, alone=seen(each.people, nearest=[None] * len(each.people))) for each in rows]
    figure = metrics._chance(nobody, 200)
    assert figure.count == 0
    assert not figure.reached


def test_images_that_change_more_than_by_another_seed_are_reported(rows):
    changed = [replace(each, changed=5.0) for each in rows]
    figure = metrics._away(changed)
    assert figure.value == pytest.approx(1.25)
    assert not figure.reached


def test_prompt_figures_count_faces_and_images(rows):
    rows[1] = replace(rows[1], said=Verdict(True, True, False, (True, False), (False, False)))
    figures = metrics.prompt_figures(rows)
    assert value_of(figures, "direction in images with people").value == 98
    assert value_of(figures, "expression in images with people").value == 99
    assert value_of(figures, "light in images with people").value == pytest.approx(97.5)
    assert value_of(figures, "light in images at weight 0").value == 100
    assert [figure.name for figure in figures if not figure.reached] == ["light in images with people"]


def test_meter_figures_of_a_meter_that_is_right_and_one_that_is_not(rows):
    picked = [
        PickedRow(number, [1], [seen([1], sim_gt=0.1 * place + 0.01 * number) for place in range(4)], 3, 0)
        for number in range(12)
    ]
    figures = metrics.meter_figures(rows, picked)
    assert value_of(figures, "Identity Meter ranks the person").value == 1
    assert value_of(figures, "Identity Meter ranks faces").value == 1
    assert value_of(figures, "Identity Meter prefers").value == 100
    gain = value_of(figures, "Sim(GT) by Pick Best of 4, by the references alone")
    assert gain.value == pytest.approx(0.15)
    assert gain.reached
    loss = value_of(figures, "Sim(GT) by Pick Best of 4, by a second photo")
    assert loss.value == pytest.approx(-0.15)
    assert not loss.reached

    turned = [replace(each, meter=[row[::-1] for row in each.meter]) for each in rows]
    assert value_of(metrics.meter_figures(turned, picked), "Identity Meter ranks the person").value < 0.5


def sets_of_photos(copying):
    return [
        {
            "case": str(number),
            "when": number,
            "common": "all",
            "risk": number / len(copying),
            "scores": {"copy_paste": [value, None]},
        }
        for number, value in enumerate(copying)
    ]


def test_a_doctor_is_believed_from_twelve_sets_on():
    right = metrics.doctor_figures(sets_of_photos([0.1 * number for number in range(12)]))
    assert right[0].value == pytest.approx(1)
    assert right[0].reached
    wrong = metrics.doctor_figures(sets_of_photos([-0.1 * number for number in range(12)]))
    assert not wrong[0].reached
    few = metrics.doctor_figures(sets_of_photos([0.1 * number for number in range(11)]))
    assert few[0].value == pytest.approx(1)
    assert not few[-1].reached
    assert [figure.reached for figure in metrics.doctor_figures([])] == [False]
    assert "| not measured |  | 0 | 0 (missed) |" in table(metrics.doctor_figures([]))


def test_a_percentage_stays_within_a_hundred():
    assert all(0 <= percentage("s", [False] * count).low < 1e-9 for count in range(1, 40))
    assert all(100 >= percentage("s", [True] * count).high > 100 - 1e-9 for count in range(1, 40))


def test_ranking_counts_ties_half_and_draws_images():
    assert ranking("r", [[1.0], [2.0]], [[1.0], [0.0]]).value == pytest.approx(0.875)
    figure = ranking("r", [[1.0], [0.0]], [[0.5], [0.5]])
    assert figure.value == 0.5
    assert figure.low == 0
    assert figure.high == 1
    assert ranking("r", [[]], [[1.0]]).count == 0


def test_ratio_is_of_means():
    figure = ratio("r", np.array([1.0, 3.0]), np.array([4.0, 4.0]))
    assert figure.value == 0.5
    assert figure.low == 0.25
    assert figure.high == 0.75
    assert ratio("r", np.zeros(2), np.zeros(2)).count == 0


@pytest.mark.parametrize(
    ("figure", "text", "reached"),
    [
        (Figure("f", 0.2, -0.1, 0.5, 9, target=0.0), "0", True),
        (Figure("f", 0.2, -0.1, 0.5, 9, target=0.0, meets="interval"), "0, the whole interval (missed)", False),
        (Figure("f", 0.2, 0.1, 0.5, 9, target=0.0, meets="interval"), "0, the whole interval", True),
        (Figure("f", 2, 0.1, 5, 9, "%", 0.5, meets="around"), "0.5 % in the interval", True),
        (Figure("f", 2, 0.6, 5, 9, "%", 0.5, meets="around"), "0.5 % in the interval (missed)", False),
        (Figure("f", 2, 0.6, 5, 9, target=1.0, at_most=True), "at most 1 (missed)", False),
        (Figure("f", 0.9, 0.6, 5, 9, target=1.0, at_most=True, meets="interval"), "(missed)", False),
    ],
)
def test_what_meets_a_target(figure, text, reached):
    assert figure.reached is reached
    assert figure.target_text.endswith(text)


def test_results_resume_after_a_cut_line(tmp_path):
    results = Results(tmp_path / "new", "key")
    assert results.rows("asked") == {}
    results.append("asked", [row_of(1, [5])])
    path = tmp_path / "new" / "key.asked.jsonl"
    path.write_text(path.read_text() + json.dumps(asdict(row_of(2, [6])))[:30])
    results.append("asked", [row_of(3, [7])])
    assert sorted(results.rows("asked")) == [1, 3]
    assert Results(tmp_path / "new", "other").rows("asked") == {}
