"""The evidence command on few drawn images: what it plants is what it compares with."""

import json
import subprocess
import sys

from withanyone_pack.tests.pack import ROOT


def test_planted_faults_are_drawn_checked_and_compared(tmp_path):
    sizes = ["--people", "5", "--photos", "3", "--images", "7", "--first-person", "1700000", "--seed", "3"]
    command = [sys.executable, ROOT / "miniature/lab/identity_check.py", "--out", tmp_path, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # so few images decide nothing
    compared = json.loads((tmp_path / "figures.json").read_text())
    figures = compared["figures"]
    assert figures["right name"][-1] == 7
    assert figures["false alarm"][-1] == 7
    assert figures["right name: lost"][0] == figures["right name: lost"][-1] == 1
    assert {fault: sum(names.values()) for fault, names in compared["named"].items()} == {
        **dict.fromkeys(("drifted", "swapped", "dominated", "blended", "pasted", "lost", "extra person"), 1),
        "clean": 7,
    }
    assert sorted(path.name for path in (tmp_path / "people").iterdir())[0] == "person_1700000"
    layout = json.loads((tmp_path / "layout.json").read_text())["images"]
    drawn = {str(path.relative_to(tmp_path / "images")) for path in (tmp_path / "images").rglob("*.png")}
    assert layout.keys() == drawn
    assert "people 1700000 to 1700004, seed 3" in done.stdout
