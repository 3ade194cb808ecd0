"""The report of what a person's own tokens bring, from rows as the results keep them."""

from pathlib import Path

import pytest
from withanyone_pack.tests.training.rooms import add_training

add_training()
from miniature.lab.evidence.own_tokens import CHANGE, Trial, figures_of
from miniature.lab.own_tokens import main, report, verdict


def line(number, gained, copied, lost=False):
    """One person of two images, of which the second shows nobody after training where `lost`."""
    before = [[0.4 + 0.01 * number, 0.5, 0.1], [0.5, 0.5, 0.2]]
    after = [[gt + gained, ref, cp + copied] for gt, ref, cp in before]
    if lost:
        after[1] = [0.0, 0.0, None]
    return {"name": f"person_{number}", "seconds": 20.0, "file_mb": 1.7, "before": before, "after": after}


def changes(figures):
    return {figure.name.removeprefix(CHANGE): figure for figure in figures if figure.name.startswith(CHANGE)}


def test_a_gain_without_copying_is_reported_with_intervals_over_people():
    figures = figures_of([line(number, 0.1 + 0.001 * number, 0.0) for number in range(12)])
    found = changes(figures)
    assert found["Sim(GT)"].value == pytest.approx(0.1055)
    assert 0.1 < found["Sim(GT)"].low < found["Sim(GT)"].value < found["Sim(GT)"].high < 0.112
    assert found["copy-paste"].value == pytest.approx(0)
    assert all(figure.reached for figure in figures)
    assert verdict(figures).startswith("Sim(GT) +0.105 [+0.10")


@pytest.mark.parametrize(("gained", "copied", "missed"), [(-0.1, 0.0, "Sim(GT)"), (0.1, 0.2, "copy-paste")])
def test_a_loss_or_a_copy_is_a_target_missed(gained, copied, missed):
    figures = figures_of([line(number, gained, copied) for number in range(12)])
    assert [figure.name for figure in figures if not figure.reached] == [CHANGE + missed]


def test_an_image_without_the_person_counts_against_the_tokens():
    figures = {
        figure.name: figure for figure in figures_of([line(number, 0.0, 0.0, lost=True) for number in range(12)])
    }
    assert figures[CHANGE + "Sim(GT)"].value == pytest.approx(-0.25)
    assert figures[CHANGE + "copy-paste"].value == 0
    assert figures[CHANGE + "copy-paste"].count == 12
    assert figures["images with the person's face, own tokens"].value == 50


def test_the_report_has_the_figures_and_every_person():
    people = [line(number, 0.1, 0.0) for number in range(12)]
    trial = Trial(Path("w"), Path("a"), Path("s"), people=12, photos=8, steps=40, images=2)
    text = report(figures_of(people), people, trial)
    assert "on 12 people\nwhom no model was trained on" in text
    assert "| change of Sim(GT) | 0.1 |" in text
    assert all(f"| person_{number} |" in text for number in range(12))


def test_what_is_missing_is_reported(tmp_path, capsys):
    assert main(["--adapter", str(tmp_path / "nowhere.safetensors"), "--out", str(tmp_path / "x.md")]) == 2
    assert "nowhere.safetensors" in capsys.readouterr().err
