"""One command from nothing to an adapter of both branches with its card, by the commands that users have."""

import json

from withanyone_pack.tests.training.rooms import add_training

add_training()

from miniature.recipes.cards import digest_of
from miniature.recipes.photos import PhotoSet
from miniature.train_adapter import make
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.face_model import face_model_of
from withanyone_core.adapter.shape import Branch

FEW = PhotoSet(first=300, identities=5, portraits=3, groups=2)
SHORT = ["optim.steps=10", "optim.batch=2", "eval.prompts=0"]


def test_from_photos_to_a_file_and_its_card(tmp_path):
    path = make(tmp_path / "scratch", tmp_path / "out", SHORT, FEW, workers=1)
    file = inspect_adapter(path)
    assert set(file.shapes) == {Branch.ARC, Branch.SIG}
    assert face_model_of(file) == "faces/recogniser.onnx"
    card = json.loads((tmp_path / "out/cards/adapter.json").read_text())
    assert card["steps"] == 20
    assert card["files"]["adapter.safetensors"]["sha256"] == digest_of(path).sha256
