"""Everything the pack uses of ComfyUI is there and is called as its signature says, in the tree at hand.

WITHANYONE_COMFYUI=TREE looks at another one; its packages have to be installed.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from withanyone_pack.tests.pack import COMFYUI, ROOT

TREE = os.environ.get("WITHANYONE_COMFYUI", str(COMFYUI))


def contract(tree):
    script = ROOT / "tests/comfyui/contract.py"
    done = subprocess.run([sys.executable, script, tree], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("CONTRACT ")[1])


def test_what_the_pack_uses_of_comfyui_is_there():
    found = contract(TREE)
    assert found["faults"] == []
    assert {
        *("comfy.model_management.load_model_gpu", "comfy.patcher_extension.WrappersMP.APPLY_MODEL"),
        *("comfy_api.latest.io.Schema", "folder_paths.get_full_path", "comfy.model_patcher.ModelPatcher.clone"),
    } <= set(found["names"])


@pytest.mark.parametrize(
    ("file", "before", "after", "fault"),
    [
        ("folder_paths.py", "def get_full_path(", "def get_path(", "folder_paths.get_full_path is not there"),
        (
            "comfy/model_patcher.py",
            "def set_additional_models(self, key",
            "def set_additional_models(self, way, key",
            "way",
        ),
        ("comfy/utils.py", "def load_torch_file(ckpt", "def load_torch_file(device_first, ckpt", "another way"),
    ],
)
def test_a_changed_comfyui_is_noticed(tmp_path, file, before, after, fault):
    """The tree as links, but for one file."""
    tree = tmp_path / "comfyui"
    shutil.copytree(TREE, tree, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__", "models", "web"))
    source = (tree / file).read_text(encoding="utf-8")
    assert before in source
    (tree / file).unlink()
    changed = source.replace(before, after) + ("\nget_full_path_or_raise = None\n" if file == "folder_paths.py" else "")
    (tree / file).write_text(changed, encoding="utf-8")
    assert any(fault in words for words in contract(tree)["faults"])
