"""Names of files and folders come from the browser, or from a stranger's workflow: none may leave its folder.

Saved identities have names of their own kind; test_identity_library.py has theirs.
"""

import asyncio

import pytest
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.extension import WithAnyoneExtension
from withanyone_pack.nodes.folders import face_pack_dir
from withanyone_pack.nodes.loading import AddAdapterLora, LoadAdapter, LoadFaceAnalysis, LoadSigLIP

FOLDERS = {"withanyone": LoadAdapter, "withanyone_loras": AddAdapterLora, "clip_vision": LoadSigLIP}
LEAVING = [
    *("../bait.safetensors", "..\\bait.safetensors", "a/../../bait.safetensors", "a\\..\\..\\bait.safetensors", ".."),
    *("/etc/passwd", "\\etc\\passwd", "//host/share/bait.safetensors", "\\\\host\\share\\bait.safetensors"),
    *("C:\\bait.safetensors", "C:/bait.safetensors", "C:bait.safetensors", "{models}/bait.safetensors"),
]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Folders with one file each, and a file beside them that no node may reach."""
    known = dict(folder_paths.folder_names_and_paths)
    for key in (*FOLDERS, "insightface"):
        (tmp_path / key / "more").mkdir(parents=True)
        (tmp_path / key / "more/good.safetensors").touch()
        known[key] = ([str(tmp_path / key)], {".safetensors"})
    (tmp_path / "bait.safetensors").touch()
    (tmp_path / "insightface/models/antelopev2").mkdir(parents=True)
    (tmp_path / "bait").mkdir()
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    return tmp_path


def execute(node, name):
    if node is AddAdapterLora:
        return node.execute(None, name, 1.0)
    return node.execute(name, "as stored") if node is LoadAdapter else node.execute(name)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", LEAVING)
def test_file_names_that_leave_their_folder_are_refused_with_a_message(models, folder, name):
    name, node = name.format(models=models), FOLDERS[folder]
    (argument,) = node.validate_inputs.__func__.__annotations__.keys() - {"return"}
    answer = node.validate_inputs(**{argument: name})
    assert answer.startswith(f"{name!r} leaves the folder models/{folder}. Put ")
    with pytest.raises(ValueError, match="leaves the folder"):
        execute(node, name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_in_subfolders_are_good_and_odd_ones_are_just_not_there(models, folder):
    (argument,) = FOLDERS[folder].validate_inputs.__func__.__annotations__.keys() - {"return"}
    assert FOLDERS[folder].validate_inputs(**{argument: "more/good.safetensors"}) is True
    for name in ("", ".", "more", "more/", "x\x00.safetensors", "gone.safetensors", "a" * 5000, "..."):
        assert "is not in" in FOLDERS[folder].validate_inputs(**{argument: name})


@pytest.mark.parametrize(
    "name", ["../bait", "..\\bait", "/etc", "C:\\x", "C:", "a\\b", "a/b", "..", "", ".", "{models}"]
)
def test_face_packs_that_leave_their_folder_are_refused_with_a_message(models, name):
    name = name.format(models=models)
    with pytest.raises(ValueError, match="is not the name of a folder under models/insightface/models"):
        LoadFaceAnalysis.execute(name, "CPU", 640, 0.5)
    assert face_pack_dir("antelopev2") == models / "insightface/models/antelopev2"


def test_no_other_widget_takes_a_name_of_a_file(models):
    """A new widget that is filled from a folder belongs into the tests above."""
    nodes = asyncio.run(WithAnyoneExtension().get_node_list())
    names = {entry.id for node in nodes for entry in node.define_schema().inputs}
    taken = {name for name in names if any(word in name for word in ("file", "_name", "pack", "path", "folder", "dir"))}
    assert taken == {"adapter_name", "lora_name", "siglip_name", "pack", "identity_file", "filename_prefix"}


def test_every_node_that_reads_a_file_looks_whether_it_is_still_the_same(models):
    """ComfyUI keeps what a node made for as long as its inputs are the same, and a file's name is no content."""
    nodes = asyncio.run(WithAnyoneExtension().get_node_list())
    widgets = {"adapter_name", "lora_name", "siglip_name", "pack", "identity_file"}
    reading = {node for node in nodes if widgets & {entry.id for entry in node.define_schema().inputs}}
    shipped = {node for node in nodes if "Miniature" in node.define_schema().node_id}
    reading |= {node for node in shipped if not node.define_schema().inputs}
    assert {node.__name__ for node in reading if "fingerprint_inputs" not in vars(node)} == set()
    assert len(reading) == 5 + 6
