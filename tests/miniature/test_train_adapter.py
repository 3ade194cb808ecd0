"""One command from nothing to an adapter of both branches with its card, by the commands that users have."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from withanyone_pack.tests.training.rooms import add_training

add_training()

from miniature.lab.recipes.base_model import ARC, SIG
from miniature.lab.recipes.cards import digest_of
from miniature.lab.recipes.photos import PhotoSet
from miniature.lab.train_adapter import make
from miniature.world.scene import SPOTS
from training.cache.files import read_cache
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.face_model import face_model_of
from withanyone_core.adapter.network import AdapterNetwork, file_tensors
from withanyone_core.adapter.places import places_of
from withanyone_core.adapter.shape import Branch

FEW = PhotoSet(first=300, identities=5, portraits=3, groups=2)
STEPS = 10
SHORT = [f"optim.steps={STEPS}", "optim.batch_size=2", "optim.warmup_steps=0", "optim.ema=0", "validation.num_images=0"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("joint") / "joint.safetensors"
    save_file(file_tensors(AdapterNetwork([ARC, SIG]).state_dict(), dtype=torch.float16), path)
    return path


def test_from_photos_to_a_file_and_its_card(start, tmp_path):
    path = make(tmp_path / "scratch", tmp_path / "out", start, SHORT, FEW, workers=1)
    file = inspect_adapter(path)
    assert set(file.shapes) == {Branch.ARC, Branch.SIG}
    assert face_model_of(file) == "faces/recognizer.onnx"
    assert len(places_of(file).boxes) == len(SPOTS)
    card = json.loads((tmp_path / "out/cards/adapter.json").read_text())
    assert card["steps"] == 2 * STEPS
    assert card["files"]["adapter.safetensors"]["sha256"] == digest_of(path).sha256
    prepared = read_cache(tmp_path / "scratch/cache")
    assert len(prepared.identities) == FEW.identities
    assert any(image.people > 1 for image in prepared.images)
    # ten steps leave each branch near where it started, and not there
    before, after = load_file(start), load_file(path)
    assert before.keys() == after.keys()
    for branch in ("ipa_arc", "ipa_sig"):
        first, last = (
            torch.cat([file[key].flatten() for key in sorted(file) if key.startswith(branch)]).float()
            for file in (before, after)
        )
        assert 0 < (last - first).norm() < 0.3 * first.norm()
