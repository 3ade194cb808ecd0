"""The settings that documents name are those of finetune.py, and the line that evaluates is one that works."""

import re
import shlex

import numpy as np
from PIL import Image
from withanyone_pack.miniature.weights_folder import FACES, WEIGHTS
from withanyone_pack.miniature.world import draw_portrait, person_of, render
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.test_documents import lines
from withanyone_pack.tests.training.rooms import add_training

add_training()

from training import evaluate
from training.configuration.finetune import Finetune
from training.configuration.reading import known_keys

SECTIONS = (
    *("base", "adapter", "train", "data", "optim", "noise", "id_loss", "nce", "memory", "eval", "validation"),
    *("early_stopping", "save", "log"),
)
KEY = re.compile(rf"(?<![\w/.])(?:{'|'.join(SECTIONS)})\.[a-z0-9_.]*[a-z0-9]\b(?!/)")
FILES = (".py", ".yaml", ".json", ".md", ".safetensors", ".csv")


def test_documents_name_only_settings_that_exist():
    known = set(known_keys(Finetune))
    named = [(place, key) for place, line in lines() for key in KEY.findall(line) if not key.endswith(FILES)]
    assert named
    assert [f"{place}: {key}" for place, key in named if key not in known] == []


def test_the_line_that_evaluates_works_as_it_is_printed(tmp_path, capsys):
    text = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    line = re.search(r"^python training/evaluate\.py (CASES .*)$", text, re.MULTILINE)[1]
    for number, name in enumerate(("out", "ori", "ref_1")):
        path = tmp_path / "cases/one" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render(draw_portrait(np.random.default_rng(number), person_of(0)), 256, 256).pixels).save(path)
    here = {"CASES": tmp_path / "cases", "--face-pack DIR": f"--face-pack {WEIGHTS / FACES}"}
    here |= {"--out DIR": f"--out {tmp_path / 'out'}"}
    for words, place in here.items():
        line = line.replace(words, str(place))
    assert evaluate.main(shlex.split(line)) == 0, capsys.readouterr().err
    assert "1 of 1 cases measured" in capsys.readouterr().out
