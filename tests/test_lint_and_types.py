"""Lint and types: ruff over everything, pyright over what pyproject.toml includes, with ComfyUI's own types beside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from withanyone_pack.tests.pack import COMFYUI, ROOT

PYRIGHT = Path(sys.executable).with_name("pyright")


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_finds_nothing(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.comfyui
@pytest.mark.skipif(not PYRIGHT.is_file(), reason="needs pyright: pip install 'pyright[nodejs]'")
def test_the_types_hold(tmp_path):
    """In the test bed; where there is no ComfyUI, `make types` checks the nodes as far as the core goes."""
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps({"extends": str(ROOT / "pyproject.toml"), "extraPaths": [str(ROOT), str(COMFYUI)]}))
    command = [PYRIGHT, "--project", config, "--pythonpath", sys.executable, "--outputjson"]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # else it asks the net for a newer one
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] > 100
    assert [_line(each) for each in found["generalDiagnostics"] if each["severity"] == "error"] == []


def _line(diagnostic):
    place = Path(diagnostic["file"]).relative_to(ROOT)
    return f"{place}:{diagnostic['range']['start']['line'] + 1}: {diagnostic['message']}"
