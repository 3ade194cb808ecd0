import numpy as np
import pytest
import torch
from PIL import Image
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.identity_library import LoadIdentity, MergeIdentities, SaveIdentity
from withanyone_pack.tests.identities.test_identity_file import person

LEAVING = ["../ann.safetensors", "/etc/ann.safetensors", "a/../../ann.safetensors", "..\\ann.safetensors", "", "C:\\a"]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for kind in ("input", "output", "temp"):
        monkeypatch.setattr(folder_paths, f"{kind}_directory", str(tmp_path / kind))
    return tmp_path


def offered():
    return LoadIdentity.INPUT_TYPES()["required"]["identity_file"][1]["options"]


def test_a_person_is_saved_shown_listed_and_loaded(folders):
    ann = person("Ann")
    output = SaveIdentity.execute(ann, "%name%")
    path = folders / "output/identities/Ann_00001_.safetensors"
    assert path.is_file()
    assert output.ui["text"] == (f"Ann saved as {path}",)
    shown = Image.open(folders / "temp" / output.ui["images"][0]["filename"])
    assert np.array_equal(np.asarray(shown), (ann.crop * 255).round().byte().numpy())
    assert offered() == ["Ann_00001_.safetensors [output]"]
    assert LoadIdentity.validate_inputs(offered()[0]) is True
    loaded = LoadIdentity.execute(offered()[0])
    identity, crop = loaded.result
    assert torch.equal(identity.arcface, ann.arcface)
    assert torch.equal(crop[0], ann.crop)
    assert loaded.ui["text"] == (f"Ann, {ann.made_from}, {ann.face_model}",)


def test_nothing_is_ever_overwritten(folders):
    for _ in range(3):
        SaveIdentity.execute(person(), "family/ann")
    assert offered() == [f"family/ann_0000{number}_.safetensors [output]" for number in (1, 2, 3)]
    (folders / "output/identities/family/ann_00002_.safetensors").unlink()
    SaveIdentity.execute(person(), "family/ann")
    assert offered()[-1] == "family/ann_00004_.safetensors [output]"


def test_a_number_that_somebody_else_just_took_is_passed_over(folders, monkeypatch):
    SaveIdentity.execute(person(), "ann")
    place = str(folders / "output/identities"), "ann", 1, "identities", "identities/ann"
    monkeypatch.setattr(folder_paths, "get_save_image_path", lambda *_: place)
    SaveIdentity.execute(person(), "ann")
    assert offered() == ["ann_00001_.safetensors [output]", "ann_00002_.safetensors [output]"]


def test_files_put_into_input_come_first_and_other_files_are_left_out(folders):
    SaveIdentity.execute(person(), "ann")
    source = folders / "output/identities/ann_00001_.safetensors"
    (folders / "input/identities").mkdir(parents=True)
    (folders / "input/identities/mine.safetensors").write_bytes(source.read_bytes())
    (folders / "input/identities/photo.png").write_bytes(b"")
    (folders / "output/identities/x.safetensors.12.part").write_bytes(b"")
    assert offered() == ["mine.safetensors [input]", "ann_00001_.safetensors [output]"]
    assert LoadIdentity.execute("mine.safetensors [input]").result[0].name == "Ann"


@pytest.mark.parametrize("name", ['Ann/Bob: "the" *one*?', "李 小龍", "..", "%year%"])
def test_names_of_people_are_made_into_file_names(folders, name):
    SaveIdentity.execute(person(name), "%name%")
    (option,) = offered()
    assert "/" not in option
    assert LoadIdentity.execute(option).result[0].name == name


LONG = {"latin": ("Ann" * 100, "AnnAnn"), "cjk": ("李小龍" * 34, "李小龍李"), "emoji": ("👩" * 200, "____")}
LONG["decomposed"] = ("Zoe\u0308" * 100, "ZoëZoë")


@pytest.mark.parametrize(("name", "begins"), LONG.values(), ids=LONG)
@pytest.mark.parametrize("prefix", ["%name%", "family/%name%", "%name% at the sea"])
def test_people_of_very_long_names_are_saved(folders, name, begins, prefix):
    for _ in range(2):
        SaveIdentity.execute(person(name), prefix)
    first, second = offered()
    assert first.endswith("_00001_.safetensors [output]")
    assert second.endswith("_00002_.safetensors [output]")
    assert LoadIdentity.execute(first).result[0].name == name
    file = folders / "output/identities" / first.removesuffix(" [output]")
    assert len(file.name.encode()) <= 143
    assert file.name.startswith(begins)


@pytest.mark.parametrize("prefix", ["a" * 300, "李" * 100, f"{'a' * 300}/ann", f"ann/{'b' * 300}/%name%"])
def test_prefixes_too_long_for_a_file_are_refused_with_a_message(folders, prefix):
    with pytest.raises(ValueError, match=r"The filename_prefix has a part of (300|100) letters, '.* is too long for"):
        SaveIdentity.execute(person(), prefix)
    assert not list(folders.rglob("*"))


@pytest.mark.parametrize("prefix", [*(name.removesuffix(".safetensors") for name in LEAVING), "a?b", "a:b"])
def test_prefixes_that_leave_the_folder_are_refused(folders, prefix):
    with pytest.raises(ValueError, match=r"The filename_prefix .* (leaves the folder|holds characters)"):
        SaveIdentity.execute(person(), prefix)
    assert not list(folders.rglob("*.safetensors"))


@pytest.mark.parametrize("name", LEAVING)
def test_names_that_leave_the_folder_are_refused_with_a_message(folders, name):
    outside = folders / "output"
    outside.mkdir()
    (outside / "ann.safetensors").write_bytes(b"")
    words = r"The identity file .* (leaves the folder identities|holds characters)"
    with pytest.raises(ValueError, match=words):
        LoadIdentity.execute(f"{name} [output]")
    assert "identity file" in LoadIdentity.validate_inputs(f"{name} [output]")


def test_a_name_without_its_folder_and_a_file_that_is_gone_are_refused_with_a_message(folders):
    with pytest.raises(
        ValueError, match=r"'ann.safetensors' is not the name of a saved identity; expected a file below"
    ):
        LoadIdentity.execute("ann.safetensors")
    words = LoadIdentity.validate_inputs("ann.safetensors [input]")
    assert words.startswith("'ann.safetensors [input]' is not there any more. Identities are looked for in")
    assert str(folders / "output/identities") in words


def test_a_changed_file_is_loaded_again(folders):
    SaveIdentity.execute(person("Ann"), "ann")
    (name,) = offered()
    before = LoadIdentity.fingerprint_inputs(name)
    assert LoadIdentity.fingerprint_inputs(name) == before
    (folders / "output/identities/ann_00001_.safetensors").unlink()
    SaveIdentity.execute(person("Ben"), "ann")
    assert LoadIdentity.fingerprint_inputs(name) != before


def test_merging(folders):
    third = MergeIdentities.execute(person("Ann", 1), person("Ben", 2), 0.5, "").result[0]
    assert third.name == "Ann"
    assert "50% Ben" in third.made_from
    SaveIdentity.execute(third, "%name%")
    assert LoadIdentity.execute(offered()[0]).result[0].made_from == third.made_from


def test_widgets_keep_their_order():
    """Saved workflows store widget values by position."""
    assert [entry.id for entry in SaveIdentity.GET_SCHEMA().inputs] == ["identity", "filename_prefix"]
    assert [entry.id for entry in LoadIdentity.GET_SCHEMA().inputs] == ["identity_file"]
    merge = MergeIdentities.GET_SCHEMA()
    assert [entry.id for entry in merge.inputs] == ["identity_a", "identity_b", "weight", "name"]
    assert LoadIdentity.RETURN_TYPES == ["WITHANYONE_IDENTITY", "IMAGE"]
    ids = [node.GET_SCHEMA().node_id for node in (SaveIdentity, LoadIdentity, MergeIdentities)]
    assert ids == ["WithAnyoneSaveIdentity", "WithAnyoneLoadIdentity", "WithAnyoneMergeIdentities"]
