"""What a user's installer relies on, and which way the arrows between the rooms point."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from withanyone_pack.tests.pack import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOREIGN = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "diffusers", "transformers", "insightface", "nodes"}
CORE = sorted((ROOT / "withanyone_core").rglob("*.py"))
INJECTION = ROOT / "withanyone_core/injection"
SOCKETS = INJECTION / "comfyui", INJECTION / "diffusers.py", INJECTION / "placing.py"
REQUIREMENTS = (ROOT / "requirements.txt").read_text()
IMPORTED_AS = {"Pillow": "PIL", "PyYAML": "yaml"}
# Of several builds, or not to be had without another NumPy: withanyone_core/faces/installation.py. google: onnx's own.
BY_FACE_LIBRARY = {"insightface", "onnxruntime", "cv2", "onnx", "google", "dlib"}  # dlib by the extra `judge`


def test_requirements_are_the_dependencies_without_the_frontend():
    """The registry reads the frontend's range from the dependencies; ComfyUI brings the frontend."""
    names = (ROOT / "requirements.txt").read_text().split("\n")[:-1]
    dependencies = PROJECT["project"]["dependencies"]
    assert [name for name in dependencies if name not in names] == ["comfyui-frontend-package>=1.32.9"]
    assert [name for name in names if name not in dependencies] == []


def test_the_packs_own_requirements_replace_nothing():
    """No upper version, and nothing that asks for another build of what other packs have: see tests/environments.py."""
    names = (ROOT / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[\w-]+(>=[\d.]+)?", name) for name in names)
    assert not [name for name in names if re.match("torch|onnx|opencv|insightface", name)]


def test_what_the_core_imports_is_declared():
    declared = {IMPORTED_AS.get(name, name.lower()) for name in re.findall(r"^[\w-]+", REQUIREMENTS, re.MULTILINE)}
    for path in CORE:
        if not any(path.is_relative_to(socket) for socket in SOCKETS):
            undeclared = foreign_imports(path) - declared - BY_FACE_LIBRARY - {"torch"}
            assert undeclared == set(), path


def foreign_imports(path):
    """Top names of the packages, not of Python's own library, that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


def test_only_packages_with_names_of_their_own_are_installed():
    packages = PROJECT["tool"]["setuptools"]["packages"]
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for path in CORE}
    assert rooms <= set(packages)
    assert not {name.split(".")[0] for name in packages} & {"nodes", "tests"}


def test_the_core_is_imported_without_any_of_its_hosts():
    """Every module but the sockets, in a process where ComfyUI, diffusers, transformers and insightface are barred."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in CORE
        if not any(path.is_relative_to(socket) for socket in SOCKETS)
    ]
    script = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"for name in {sorted(FOREIGN - {'nodes'})!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_in_the_core_points_at_nodes_or_training():
    def upward(node):
        first = node.module.split(".")[0] if node.module else ""
        return first in ("nodes", "training") or (not node.level and first == "withanyone_core")

    assert offenders(CORE, lambda node: isinstance(node, ast.ImportFrom) and upward(node)) == []


def offenders(paths, is_wrong):
    """file:line of every node of these files' syntax trees that is wrong."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if is_wrong(node)
    ]


@pytest.mark.parametrize("package", ["withanyone_core", "training"])
def test_arrows_form_no_circle(package):
    """Neither between a package's modules nor between its rooms, imports inside functions included."""
    paths = sorted((ROOT / package).rglob("*.py"))
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): imported(path) for path in paths}
    assert circle(modules) == []
    rooms = rooms_of(modules)
    # The commands in training's root stand above all of its rooms; what is in the core's root, below.
    if package == "training":
        assert all("training" not in targets for room, targets in rooms.items() if room != "training")
    else:
        facts = f"{package}.base_models"
        assert rooms[package] <= {package, facts}, "the root holds values that every room may use"
        assert rooms[facts] <= {facts}, "facts of base models know nothing of the rest"
    assert circle({room: targets - {room} for room, targets in rooms.items()}) == []


def rooms_of(modules):
    """The arrows between rooms, of those between modules."""
    rooms: dict[str, set[str]] = {}
    for name, targets in modules.items():
        rooms.setdefault(room_of(name), set()).update(room_of(target) for target in targets)
    return rooms


def imported(path):
    """The modules that one of a package imports of it, relatively or (training's commands) by full name."""
    package = path.relative_to(ROOT).parts[:-1]
    targets = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.startswith(f"{package[0]}.")):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, *(node.module or "").split(".")]
            names = (Path(*filter(None, [*base, alias.name])) for alias in node.names)
            targets |= {".".join(filter(None, base)) if not is_module(name) else ".".join(name.parts) for name in names}
    return targets


def is_module(name):
    return (ROOT / name).with_suffix(".py").is_file() or (ROOT / name / "__init__.py").is_file()


def room_of(module):
    """`withanyone_core.faces` of `withanyone_core.faces.crop`, `withanyone_core` of a module of its root."""
    parts = module.split(".")
    return ".".join(parts[:2]) if (ROOT / Path(*parts[:2])).is_dir() else parts[0]


def circle(arrows):
    """What is left of a graph when everything that points at nothing left is taken away, again and again."""
    left = dict(arrows)
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_no_file_imports_the_pack_by_an_absolute_name():
    absolute = re.compile(r"(import|from) withanyone_core")
    paths = [*CORE, *(ROOT / "nodes").glob("*.py")]
    assert [str(path.relative_to(ROOT)) for path in paths if absolute.search(path.read_text())] == []


def test_installed_packages_say_that_they_are_typed():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package in ("withanyone_core", "training"):
        assert (ROOT / package / "py.typed").is_file()
        assert "py.typed" in data[package]
