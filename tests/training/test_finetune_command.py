"""finetune.py and export.py from a bare clone."""

import os
import re
import subprocess
import sys

import pytest
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.configuration.finetune import Finetune
from training.configuration.reading import known_keys


def shown(program, folder):
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    command = [sys.executable, ROOT / "training" / program]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=True).stdout


def test_called_bare_finetune_explains_every_setting(tmp_path):
    help_text = shown("finetune.py", tmp_path)
    assert help_text.startswith("usage: python training/finetune.py")
    for key in known_keys(Finetune):
        name = key.rpartition(".")[2]
        assert re.search(rf"^ *([a-z0-9_]+, )*{name}\b", help_text, re.MULTILINE), key


@pytest.mark.parametrize("program", ["export.py", "evaluate.py", "prepare.py", "transfer.py"])
def test_the_others_called_bare_show_their_help(tmp_path, program):
    assert shown(program, tmp_path).startswith(f"usage: python training/{program}")
