"""The rules of the Comfy registry, and what an installation from it consists of."""

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib
from withanyone_pack.tests.pack import COMFYUI, ROOT
from withanyone_pack.withanyone_core.version import VERSION

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, COMFY = PYPROJECT["project"], PYPROJECT["tool"]["comfy"]
LARGEST_BYTES = 2 * 2**20
MINIATURE, MINIATURE_BYTES = "miniature/weights/", 40 * 10**6
PACK_FILES = [ROOT / "__init__.py", *sorted((ROOT / "nodes").rglob("*.py"))]
CORE_FILES = sorted((ROOT / "withanyone_core").rglob("*.py"))
DOWNLOAD = ROOT / "withanyone_core/download"
NETWORK = {
    *("requests", "urllib", "urllib3", "http", "httpx", "httpcore", "aiohttp", "socket", "ssl", "ftplib", "smtplib"),
    *("websocket", "websockets", "huggingface_hub", "gdown", "torch.hub", "boto3", "paramiko"),
}
ANSWERS = ROOT / "nodes/answers.py"  # answers the browser on ComfyUI's own server, and asks nobody
PROCESSES = {"subprocess", "multiprocessing", "pty", "pip", "ensurepip", "ctypes"}
# Node ids of the older port of WithAnyone: a workflow that holds one must never find a node of ours behind it.
OLDER_PORT = {
    *("WithAnyoneModelLoaderNode", "WithAnyoneSamplerNode", "WithAnyoneArcFaceExtractorNode"),
    *("WithAnyoneSigLIPExtractorNode", "WithAnyoneBBoxNode", "WithAnyoneSinglePersonConditioningNode"),
}


def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the rules for committed files need a git repository: {done.stderr.strip()}")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def committed():
    return git("ls-files", "-z")


def archive():
    """What the registry's tool packs: what is committed, less what .comfyignore names in git's own way of matching."""
    return committed() - git("ls-files", "-z", "--cached", "--ignored", f"--exclude-from={ROOT / '.comfyignore'}")


# The project's own words


def test_the_name_is_one_the_registry_takes():
    assert re.fullmatch(r"[a-z][a-z0-9_-]{0,98}", PROJECT["name"])
    assert "comfy" not in PROJECT["name"]
    assert COMFY["PublisherId"]
    assert COMFY["DisplayName"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", COMFY["requires-comfyui"])


def test_the_license_is_a_table_with_a_file():
    assert PROJECT["license"] == {"file": "LICENSE"}
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_one_version_everywhere():
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["version"] == VERSION
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == VERSION


def test_addresses_are_real_ones_or_none():
    for address in PROJECT.get("urls", {}).values():
        assert re.fullmatch(r"https://[\w.-]+\.\w+/\S+", address)
        assert not re.search(r"example|your|owner|todo|<", address, re.IGNORECASE)


def test_the_publishing_workflow_needs_a_tag_and_the_tests():
    workflow = (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    assert 'tags: ["v*.*.*"]' in workflow
    assert "branches" not in workflow
    assert "needs: tests" in workflow
    assert re.search(r"publish-node-action@[0-9a-f]{40}\n", workflow)
    assert "personal_access_token: ${{ secrets.REGISTRY_ACCESS_TOKEN }}" in workflow
    assert "bash test.sh" in (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")


# What the code may not do


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """Modules of other packages, and files of this one, that a file imports anywhere in it."""
    foreign, own = set(), set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            foreign |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            foreign |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.ImportFrom):
            package = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            places = [package, *(package / alias.name for alias in node.names)]
            files = [found for place in places for found in (place.with_suffix(".py"), place / "__init__.py")]
            own |= {file for file in files if file.is_file()}
    return foreign, own


def reached(files):
    """The files of this pack that loading these brings in, functions' own imports among them."""
    found, waiting = set(), list(files)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imports(file)[1]
    return found


def touches(names, forbidden):
    parts = {".".join(name.split(".")[:depth]) for name in names for depth in (1, 2)}
    return parts & forbidden


def test_the_search_for_imports_sees_what_is_there():
    nodes = reached(PACK_FILES)
    assert ROOT / "withanyone_core/adapter/checkpoint.py" in nodes
    assert ROOT / "withanyone_core/faces/analysis.py" in nodes
    assert touches(imports(DOWNLOAD / "hub.py")[0], NETWORK)


def test_nothing_that_nodes_import_reaches_the_network():
    for file in reached(PACK_FILES):
        assert DOWNLOAD not in file.parents, f"{file} is reached from the nodes"
        assert not touches(imports(file)[0], NETWORK - ({"aiohttp"} if file == ANSWERS else set())), file


def test_the_answers_to_the_browser_need_no_more_than_aiohttps_server_side():
    assert {name for name in imports(ANSWERS)[0] if name.startswith("aiohttp")} == {"aiohttp", "aiohttp.web"}


def test_no_code_is_made_fetched_or_unpickled_at_run_time():
    barred = PROCESSES | {"pickle", "marshal", "shelve", "dill", "joblib"}
    files = [*PACK_FILES, *CORE_FILES]
    assert [str(path.relative_to(ROOT)) for path in files if touches(imports(path)[0], barred)] == []
    assert calls(files, makes_code) == []


def makes_code(path, call):
    called = ast.unparse(call.func)
    return (
        called in {"eval", "exec", "compile", "__import__", "importlib.import_module", "torch.load"}
        or re.fullmatch(r"os\.(system|popen|exec\w+|spawn\w+|startfile)", called)
        or "allow_pickle" in {word.arg for word in call.keywords}
    )


def calls(files, are_wrong, kind=ast.Call):
    """file:line of every call, or other node of a kind, that is wrong."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        for node in ast.walk(tree(path))
        if isinstance(node, kind) and are_wrong(path, node)
    ]


def test_nothing_of_other_packages_is_replaced():
    """Adding a model folder is an entry of a table of ComfyUI's; setting an attribute of its modules is not."""
    files = [*PACK_FILES, *CORE_FILES]
    assert calls(files, replaces, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For, ast.NamedExpr, ast.Call)) == []


def replaces(path, node):
    if isinstance(node, ast.Call):
        targets = node.args[:1] if ast.unparse(node.func) == "setattr" else []
    else:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        targets = [target for target in targets if isinstance(target, ast.Attribute)]
    owners = {ast.unparse(target).split(".")[0] for target in targets}
    return owners and owners & ({name.split(".")[0] for name in imports(path)[0]} - {"__future__"})


def test_no_module_is_put_into_evaluation_mode_by_a_name_that_scanners_fear():
    """`train(False)` is the same; scanners of node packs report every `.eval(` as code that runs code."""
    files = [*PACK_FILES, *CORE_FILES, *sorted((ROOT / "training").rglob("*.py"))]
    assert [str(path.relative_to(ROOT)) for path in files if ".eval(" in path.read_text(encoding="utf-8")] == []


def test_the_registrys_own_search_finds_nothing():
    """What `comfy node validate` runs on the whole folder (exec, eval, lines of two statements), and shells besides."""
    rules = "S102,S307,E702,S602,S605"
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", rules, "--quiet", ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# What is committed, and what is packed


def test_nothing_large_is_committed_but_reference_numbers_and_the_miniature():
    large = {name for name in committed() if (ROOT / name).stat().st_size > LARGEST_BYTES}
    assert {name for name in large if not name.startswith(("tests/golden/", MINIATURE))} == set()
    assert sum((ROOT / name).stat().st_size for name in committed() if name.startswith(MINIATURE)) < MINIATURE_BYTES


def test_no_model_is_committed_but_small_ones_of_our_own():
    """No weights of others, and nothing that runs code when opened."""
    for name in committed():
        assert not name.endswith((".ckpt", ".pt", ".pth", ".bin", ".pkl", ".gguf", ".zip", ".whl"))
        if name.endswith((".safetensors", ".sft", ".onnx")):
            assert name.startswith(("tests/golden/", MINIATURE))


def test_no_file_of_comfyui_is_committed():
    if not COMFYUI.is_dir():
        pytest.skip("no ComfyUI to compare with")
    theirs = {digest(path) for path in COMFYUI.rglob("*.py") if path.stat().st_size}
    names = committed()
    assert [name for name in names if name.endswith(".py") and digest(ROOT / name) in theirs] == []
    assert not [name for name in names if name.startswith(("comfy/", "comfy_api/", "comfy_extras/", ".testbed"))]


def digest(path):
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def test_the_archive_has_the_nodes_and_nothing_of_the_workshop():
    names = archive()
    needed = {"__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "CHANGELOG.md"}
    needed |= {str(path.relative_to(ROOT)) for path in [*PACK_FILES, *CORE_FILES]} & committed()
    needed |= {
        name for name in committed() if name.startswith(("example_workflows/", "subgraphs/", "locales/", "nodes/web/"))
    }
    assert needed <= names
    rooms = {Path(name).parts[0] for name in names if "/" in name}
    assert rooms <= {"nodes", "withanyone_core", "example_workflows", "subgraphs", "locales", "miniature", "training"}
    assert not {name for name in names if name.startswith(".") or name.endswith(".sh")}
    assert sum((ROOT / name).stat().st_size for name in names if not name.startswith(MINIATURE)) < 5 * 2**20


@pytest.mark.comfyui
def test_the_archive_loads_by_itself(tmp_path):
    """As ComfyUI loads it, by its folder; in a process of its own, so that nothing comes from the clone.

    Then every module that ComfyUI could import by the pack's name: nodes/, withanyone_core/ and the loaders' models.
    """
    unpack(archive(), tmp_path / "pack")
    script = f"""
import asyncio, importlib.util, json, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import pack as bed
bed.add_comfyui()
spec = importlib.util.spec_from_file_location("any_name", {str(tmp_path / "pack/__init__.py")!r})
pack = sys.modules["any_name"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
nodes = asyncio.run(pack.comfy_entrypoint().get_node_list())
for name in {modules_of(tmp_path / "pack", ("nodes", "withanyone_core"))!r}: importlib.import_module("any_name." + name)
print("NODES", json.dumps([node.define_schema().node_id for node in nodes]))
"""
    ids = json.loads(output_of(script, tmp_path).split("NODES ")[1])
    assert {"WithAnyoneApply", "WithAnyoneMiniatureFlux"} <= set(ids)


def test_comfyui_registers_the_nodes_where_the_miniature_is_absent(tmp_path):
    """Through ComfyUI's own loading of custom nodes."""
    unpack({name for name in archive() if not name.startswith("miniature/")}, tmp_path / "custom_nodes/withanyone")
    script = f"""
import asyncio, json, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from pack import add_comfyui
add_comfyui()
import nodes
loaded = asyncio.run(nodes.load_custom_node({str(tmp_path / "custom_nodes/withanyone")!r}))
print("NODES", json.dumps([loaded, *nodes.NODE_CLASS_MAPPINGS]))
"""
    loaded, *ids = json.loads(output_of(script, tmp_path).split("NODES ")[1])
    assert loaded
    assert "WithAnyoneApply" in ids
    assert not [name for name in ids if name.startswith("WithAnyoneMiniature")]


def test_the_archives_commands_and_models_are_imported_from_its_root(tmp_path):
    unpack(archive(), tmp_path)
    assert not (tmp_path / "miniature/lab").exists()
    import_all(tmp_path, ("training", "miniature"))


def test_every_module_of_the_wheel_is_imported_from_it(tmp_path):
    pytest.importorskip("setuptools", "77", reason="building a wheel needs setuptools 77 or newer")
    unpack(committed(), tmp_path / "clone")
    build = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path / "clone")
    assert done.returncode == 0, done.stderr
    installed = tmp_path / "installed"
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        wheel.extractall(installed)
    assert not (installed / "miniature/lab").exists()
    rooms = ("withanyone_core", "training", "miniature")
    assert modules_of(installed, rooms) == [
        name for name in modules_of(tmp_path / "clone", rooms) if not name.startswith("miniature.lab")
    ]
    import_all(installed, rooms)


def unpack(names, folder):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def modules_of(root, rooms):
    """The dotted name of every Python file in these folders of a root."""
    files = [path.relative_to(root) for room in rooms for path in sorted((root / room).rglob("*.py"))]
    return [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]


def import_all(root, rooms):
    """Every module of these folders, from this root alone, in a process that has ComfyUI for the sockets."""
    script = f"""
import importlib, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from pack import add_comfyui
add_comfyui()
sys.path.insert(0, {str(root)!r})
for name in {modules_of(root, rooms)!r}:
    assert importlib.import_module(name).__file__.startswith({str(root)!r}), name
"""
    output_of(script, root)


def output_of(script, folder):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Nodes and workflows


def test_workflows_come_with_a_image_of_the_same_name():
    folder = ROOT / "example_workflows"
    files = {path.name for path in folder.iterdir()}
    stems = {path.stem for path in folder.glob("*.json")}
    assert stems
    assert files == {f"{stem}{suffix}" for stem in stems for suffix in (".json", ".jpg")}
    for stem in stems:
        assert json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))["nodes"]
        assert (folder / f"{stem}.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
