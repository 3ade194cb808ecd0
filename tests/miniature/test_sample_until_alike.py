"""The evidence for Sample Until Alike: its search over made-up draws, what is counted, the command's report."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.generation import STEPS, noise, shipped_generator
from miniature.lab import sample_until_alike
from miniature.lab.evidence import alike
from miniature.lab.evidence.alike import (
    CUTS,
    DRAWS,
    AlikeRow,
    alike_figures,
    best_of_all,
    curve,
    replay,
    window_figures,
)
from miniature.lab.evidence.dataset import COUNTS, Dataset
from miniature.lab.evidence.evaluate import Judged
from miniature.lab.evidence.results import Results, key_of
from miniature.weights_folder import WEIGHTS
from withanyone_core.sampling_search.rules import Rules

DATASET = Dataset(people=6)
RIGHT_FROM = 0.7


def scores(similarity, people):
    return [{"similarity": similarity, "copy_paste": 0.1, "lost": False} for _ in people]


def row_of(number, people=(0,), best=3, are_faithful=True):
    """A row in which draw `best` is the most similar; estimates say so from the beginning, or the contrary."""
    finals = [0.8 if draw == best else 0.3 + 0.01 * draw for draw in range(DRAWS)]
    estimates = finals if are_faithful else [1 - value for value in finals]
    judged = [
        Judged(
            faces=[1] * len(people),
            nearest=list(people) if value > RIGHT_FROM else [5] * len(people),
            ranks=[0] * len(people),
            likeness=[[0.9]] * len(people),
            sim_gt=value,
            sim_ref=0.5,
            copy_paste=0.0 if value > RIGHT_FROM else 0.1,
        )
        for value in finals
    ]
    return AlikeRow(
        number,
        list(people),
        [[scores(value - 0.2, people) for _ in CUTS] for value in estimates],
        [scores(value, people) for value in finals],
        judged,
    )


ROWS = [row_of(number, tuple(range(count)), best=number % DRAWS) for number, count in enumerate(COUNTS * 3)]


def value_of(figures, start):
    (found,) = [figure for figure in figures if figure.name == start]
    return found


@pytest.mark.parametrize(("cut", "finish", "forwards"), [(5, 2, 70), (2, 3, 70), (10, 1, 90)])
def test_the_search_pays_for_the_steps_it_takes(cut, finish, forwards):
    kept, found = replay(ROWS[0], alike.BEST, cut, finish)
    assert kept == best_of_all(ROWS[0]) == 0
    assert found.forwards == forwards


def test_a_window_ends_the_search():
    rules = Rules(0.25, 0.9, 0.2)
    assert replay(row_of(0), rules)[1].forwards < 3 * STEPS
    assert value_of(window_figures([row_of(0)]), "everybody inside 0.6 to 0.9, the search").value == 100


def test_figures_reach_their_targets_where_the_estimates_tell_and_miss_them_where_they_do_not():
    reached = alike_figures(ROWS)
    assert [figure.name for figure in reached if not figure.reached] == []
    assert value_of(reached, "forwards of the search").value == pytest.approx(43.75)
    one = value_of(reached, "right person in every box, four people, one draw")
    assert one.value == pytest.approx(100 / DRAWS)
    times = value_of(reached, "right person in every box, four people, the search over one draw")
    assert (times.value, times.target) == (pytest.approx(DRAWS), 1.5)
    misled = alike_figures([row_of(number, best=7, are_faithful=False) for number in range(12)])
    missed = {figure.name for figure in misled if not figure.reached}
    assert f"Sim(GT) of the search over the best of {DRAWS}" in missed
    assert "right person in every box, any number of people, the search over one draw" in missed


def test_where_one_draw_is_right_already_there_is_no_target():
    rows = [row_of(number) for number in range(4)]
    sure = [AlikeRow(**vars(row) | {"judged": [row.judged[3]] * DRAWS}) for row in rows]
    assert (
        value_of(alike_figures(sure), "right person in every box, one person, the search over one draw").target is None
    )


def test_the_curve_has_a_line_for_each_fraction_that_can_be_afforded():
    lines = curve(ROWS).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]
    for line in lines:
        assert float(line.split("|")[3].strip(" %")) <= alike.MOST_FORWARDS


def test_the_last_clean_estimate_is_the_image():
    generator, seen = shipped_generator(), []
    captions = ["one person, park, daylight: middle calm ahead"]
    image = generator.from_noise(noise(1, 5), captions, steps=3, watch=lambda step, clean: seen.append((step, clean)))
    assert [step for step, _ in seen] == [1, 2, 3]
    np.testing.assert_array_equal(generator.decode(seen[-1][1]), image)
    assert not torch.equal(seen[0][1], seen[-1][1])


def test_the_command_writes_a_report_of_what_was_measured(tmp_path, capsys):
    """All is measured already, as after an interruption: nothing is generated."""
    settings = asdict(DATASET) | {"steps": STEPS, "draws": DRAWS, "format": sample_until_alike.RESULTS_FORMAT}
    results = Results(tmp_path / "scratch", key_of(WEIGHTS, settings))
    results.keep("people", {"gallery": np.eye(6, 8), "references": np.eye(6, 8)})
    samples = DATASET.samples(alike.SERIES, 1)
    results.append(alike.SECTION, [row_of(each.seed, each.people) for each in samples])
    out = tmp_path / "report.md"
    command = ["--images", "1", "--people", "6", "--out", str(out), "--scratch", str(tmp_path / "scratch")]
    assert sample_until_alike.main([*command, "--threads", "1"]) == 0
    text = out.read_text(encoding="utf-8")
    assert "`python miniature/lab/sample_until_alike.py --people 6 --images 1`" in text
    assert "| forwards of the search | 43.75 %" in text
    assert "0 targets missed" in capsys.readouterr().out


def test_wrong_numbers_are_reported(capsys):
    assert sample_until_alike.main(["--people", "2"]) == 2
    assert "at least 4 people" in capsys.readouterr().err
