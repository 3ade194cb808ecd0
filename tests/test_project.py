"""What a user's installer relies on, and which way the arrows between the rooms point."""

import ast
import subprocess
import sys

import pytest
import tomllib
from withanyone_pack.tests.pack import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOREIGN = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "diffusers", "transformers", "insightface", "nodes"}
CORE = sorted((ROOT / "withanyone_core").rglob("*.py"))


def test_requirements_are_the_dependencies():
    assert (ROOT / "requirements.txt").read_text().split("\n")[:-1] == PROJECT["project"]["dependencies"]


def test_the_packs_own_requirements_leave_torch_and_the_runtime_alone():
    names = " ".join(PROJECT["project"]["dependencies"])
    assert "torch" not in names
    assert "onnxruntime" not in names


def test_only_packages_with_names_of_their_own_are_installed():
    packages = PROJECT["tool"]["setuptools"]["packages"]
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for path in CORE}
    assert rooms <= set(packages)
    assert not {name.split(".")[0] for name in packages} & {"nodes", "tests"}


def test_the_core_is_imported_without_any_of_its_hosts():
    """Every module but the sockets, in a process where ComfyUI, diffusers, transformers and insightface are barred."""
    injection = ROOT / "withanyone_core/injection"
    sockets = injection / "comfyui", injection / "diffusers.py", injection / "placing.py"
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in CORE
        if not any(path.is_relative_to(socket) for socket in sockets)
    ]
    script = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"for name in {sorted(FOREIGN - {'nodes'})!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_in_the_core_points_at_nodes_or_training(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module is None or node.module.split(".")[0] not in ("nodes", "training")
            assert node.level or (node.module.split(".")[0] != "withanyone_core")


def test_no_file_imports_the_pack_by_an_absolute_name():
    for path in [*CORE, *(ROOT / "nodes").glob("*.py")]:
        assert "import withanyone_core" not in path.read_text()
        assert "from withanyone_core" not in path.read_text()
