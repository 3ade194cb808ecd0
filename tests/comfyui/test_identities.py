import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from withanyone_pack.tests.pack import ROOT, add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.folders import DEFAULT_PACK, face_pack_dir, face_pack_names, register_model_folders
from withanyone_pack.nodes.identities import IdentityFromPhotos
from withanyone_pack.nodes.loading import LoadFaceAnalysis, LoadSigLIP
from withanyone_pack.nodes.siglip import siglip_tower
from withanyone_pack.tests.faces.small_pack import photo_with, write_pack
from withanyone_pack.withanyone_core.faces.dlib_analysis import DLIB, is_dlib_installed

CHOICES = {"name": "Ann", "which_face": "best score", "face_index": 1, "combine": "first", "no_face": "error"}
STRONG, FAINT = (240, 0, 0), (160, 0, 0)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Model and temporary folders of ComfyUI in a scratch place, with the pack's folders registered there."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    known = {key: value for key, value in folder_paths.folder_names_and_paths.items() if key != "insightface"}
    known["clip_vision"] = ([str(tmp_path / "models/clip_vision")], {".safetensors"})
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    register_model_folders()
    return tmp_path / "models"


@pytest.fixture
def analysis(models):
    write_pack(models / "insightface/models/antelopev2")
    return LoadFaceAnalysis.execute("antelopev2", "CPU", 160, 0.5).result[0]


def batch(*photos):
    return torch.from_numpy(np.stack(photos)).to(torch.float32) / 255


def test_a_person_with_crops_box_image_and_words(analysis, tmp_path):
    weights = load_file(ROOT / "tests/golden/inference/g_siglip_tiny.safetensors")
    siglip = siglip_tower({key: value for key, value in weights.items() if key.startswith("vision")}, "tiny", 4)
    photos = batch(photo_with({(2, 3): FAINT, (12, 3): STRONG}))
    output = IdentityFromPhotos.execute(photos, analysis, clip_vision=siglip, **CHOICES)
    identity, crops, box = output.result
    assert identity.name == "Ann"
    assert identity.arcface.shape == (512,)
    assert identity.siglip.shape == (16, 64)
    assert crops.shape == (1, 512, 512, 3)
    assert torch.equal(crops[0], identity.crop)
    assert box == {"x": 88, "y": 16, "width": 32, "height": 32}
    assert output.ui["text"] == ("photo 1: face 2 of 2 from the left, score 0.94, 32 x 32 pixels",)
    shown = output.ui["images"][0]
    assert Image.open(tmp_path / "temp" / shown["filename"]).size == (512, 552)


def test_the_person_of_one_photo_is_found_in_another(analysis):
    alone = batch(photo_with({(12, 3): FAINT}))
    ann = IdentityFromPhotos.execute(alone, analysis, **CHOICES).result[0]
    assert ann.face_model == "antelopev2/glintr100.onnx"
    group = batch(photo_with({(2, 3): STRONG, (12, 3): FAINT, (12, 12): (0, 200, 0)}))
    choices = CHOICES | {"which_face": "like this identity"}
    assert IdentityFromPhotos.execute(group, analysis, like=ann, **choices).result[2]["x"] == 88


def test_mean_gives_a_crop_for_every_photo_and_no_siglip_without_a_tower(analysis):
    photos = batch(photo_with({(2, 3): STRONG}), photo_with({}), photo_with({(12, 9): FAINT}))
    choices = CHOICES | {"combine": "mean", "no_face": "skip"}
    output = IdentityFromPhotos.execute(photos, analysis, **choices)
    identity, crops, box = output.result
    assert identity.siglip is None
    assert crops.shape == (2, 512, 512, 3)
    assert box["x"] == 8
    assert [line.split(":")[0] for line in output.ui["text"]] == ["photo 1", "photo 3"]


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_photos_go_through(analysis, channels):
    photo = batch(photo_with({(2, 3): STRONG}))
    if channels == 1:
        with pytest.raises(ValueError, match="No face was found in photo 1"):  # grey has no red for this detector
            IdentityFromPhotos.execute(photo[..., :1], analysis, **CHOICES)
    else:
        opaque = torch.cat([photo, torch.ones(1, 160, 160, 1)], dim=-1)
        assert torch.equal(
            IdentityFromPhotos.execute(opaque, analysis, **CHOICES).result[1],
            IdentityFromPhotos.execute(photo, analysis, **CHOICES).result[1],
        )


def test_no_face_and_nan_are_refused_with_a_message(analysis):
    with pytest.raises(
        ValueError, match=r"No face was found in photo 1 \(160 x 160 pixels\); the best candidate scored"
    ):
        IdentityFromPhotos.execute(batch(photo_with({(2, 3): (90, 0, 0)})), analysis, **CHOICES)
    with pytest.raises(ValueError, match=r"photos: photo 1 holds 76800 values that are NaN"):
        IdentityFromPhotos.execute(torch.full((1, 160, 160, 3), float("nan")), analysis, **CHOICES)


def dlib_if_installed():
    """dlib is offered like a folder; its models come with its package."""
    return [DLIB] if is_dlib_installed() else []


def test_missing_pack_says_which_files_go_where(models):
    assert face_pack_names() == [DEFAULT_PACK, *dlib_if_installed()]
    with pytest.raises(FileNotFoundError, match=r"does not exist. Put scrfd_10g_bnkps.onnx .* glintr100.onnx") as error:
        LoadFaceAnalysis.execute("antelopev2", "CPU", 640, 0.5)
    assert str(models / "insightface/models/antelopev2") in str(error.value)


def test_missing_siglip_says_which_file_goes_where_already_when_queued(models):
    words = LoadSigLIP.validate_inputs("none.safetensors")
    assert words.startswith(
        f"'none.safetensors' is not in {models / 'clip_vision'}. Put the .safetensors file of google/"
    )
    with pytest.raises(FileNotFoundError, match=r"none.safetensors"):
        LoadSigLIP.execute("none.safetensors")


def test_siglip_node_loads_a_file(models):
    (models / "clip_vision").mkdir(parents=True)
    source = ROOT / "tests/golden/inference/g_siglip_tiny.safetensors"
    (models / "clip_vision/siglip.safetensors").write_bytes(source.read_bytes())
    assert LoadSigLIP.validate_inputs("siglip.safetensors") is True
    assert LoadSigLIP.execute("siglip.safetensors").result[0].image_size == 64


def test_folders_are_merged_with_what_others_registered(models):
    known = folder_paths.folder_names_and_paths
    assert known["insightface"] == ([str(models / "insightface")], {".onnx"})
    known["insightface"] = (["elsewhere"], [".bin"])
    known["withanyone"] = (["mine"], set())
    register_model_folders()
    register_model_folders()
    assert known["insightface"] == (["elsewhere", str(models / "insightface")], {".bin", ".onnx"})
    assert known["withanyone"] == (["mine", str(models / "withanyone")], {".safetensors", ".sft"})


def test_packs_of_every_registered_folder_are_offered(models, tmp_path):
    folder_paths.add_model_folder_path("insightface", str(tmp_path / "shared"))
    write_pack(tmp_path / "shared/models/buffalo_l")
    write_pack(tmp_path / "shared/models/antelopev2/antelopev2")
    assert face_pack_names() == ["antelopev2", "buffalo_l", *dlib_if_installed()]
    assert face_pack_dir("antelopev2") == tmp_path / "shared/models/antelopev2"
    LoadFaceAnalysis.execute("antelopev2", "CPU", 160, 0.5)


@pytest.mark.parametrize("name", ["../antelopev2", "a/b", "..", ""])
def test_pack_names_that_leave_the_folder_are_refused(models, name):
    with pytest.raises(ValueError, match="is not the name of a folder under models/insightface/models"):
        face_pack_dir(name)


def test_widgets_keep_their_order():
    views = {node: node.INPUT_TYPES() for node in (LoadFaceAnalysis, LoadSigLIP, IdentityFromPhotos)}
    names = {node: [*view["required"], *view.get("optional", {})] for node, view in views.items()}
    assert names[LoadFaceAnalysis] == ["pack", "provider", "det_size", "det_threshold"]
    assert names[LoadSigLIP] == ["siglip_name"]
    assert names[IdentityFromPhotos] == [
        *("photos", "face_analysis", "name", "which_face", "face_index", "combine", "no_face", "clip_vision", "like")
    ]
    rules = views[IdentityFromPhotos]["required"]["which_face"][1]["options"]
    assert rules == ["best score", "largest", "left to right", "exactly one", "like this identity"]
    assert IdentityFromPhotos.RETURN_TYPES == ["WITHANYONE_IDENTITY", "IMAGE", "BOUNDING_BOX"]
    json.dumps(views[LoadFaceAnalysis])
