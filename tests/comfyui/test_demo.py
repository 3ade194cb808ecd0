"""What demo.sh leaves behind and says."""

import json

import pytest
from withanyone_pack.tests.comfyui.demo import SEEDS, to_files, verdict

IMAGES = 4
ANN, BOB = "1 Ann", "2 Bob"


def likeness(lost, ann, bob):
    rows = {ANN: dict(zip((ANN, BOB), ann, strict=True)), BOB: dict(zip((ANN, BOB), bob, strict=True))}
    return {"lost": lost, "face_of": rows}


def test_the_verdict_has_a_line_a_person():
    numbers = {
        "judge": {"name": "a judge"},
        "people": [ANN, BOB],
        "likeness": [likeness([], (0.8, 0.0), (0.3, 0.1)), likeness([BOB], (0.6, 0.2), (None, None))],
    }
    judge, ann, bob = verdict(numbers)
    assert "judged by a judge" in judge
    assert "1 Ann: found in 2 of 2, most like themselves in 2; like 1 Ann +0.70, like 2 Bob +0.10" in ann
    assert "2 Bob: found in 1 of 2, most like themselves in 0; like 1 Ann +0.30, like 2 Bob +0.10" in bob


def test_somebody_who_is_never_found_is_said_to_be_lost():
    numbers = {
        "judge": {"name": "a judge"},
        "people": [ANN],
        "likeness": [{"lost": [ANN], "face_of": {ANN: {ANN: None}}}],
    }
    assert verdict(numbers)[1].endswith("1 Ann: found in 0 of 1")


@pytest.mark.server
def test_it_leaves_images_layout_and_verdict(tmp_path, capsys):
    to_files(tmp_path)
    wanted = {"layout_1.png"}
    for seed in SEEDS:
        wanted |= {f"image_{seed}_{number}.png" for number in range(1, IMAGES + 1)}
        wanted |= {f"identity_meter_{seed}_1.png", f"identity_meter_{seed}_2.png"}
        wanted.add(f"identity_meter_{seed}.json")
        numbers = json.loads((tmp_path / f"identity_meter_{seed}.json").read_text())
        assert numbers["people"] == ["1 person 1", "2 person 2"]
        assert len(numbers["images"]) == IMAGES
    assert {path.name for path in tmp_path.iterdir()} == wanted
    assert capsys.readouterr().out.count("1 person 1: found in") == len(SEEDS)
