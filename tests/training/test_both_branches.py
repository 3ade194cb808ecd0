"""Validation as users run an adapter: both branches, also where one is trained."""

import logging

import numpy as np
import pytest
import torch
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.training.small_trainer import HIDDEN, LAYERS, SIGLIP_WIDTH, small_trainer

from training.loop.build import _announce
from withanyone_core.adapter.shape import Branch, BranchShape

ARC = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512)
SIG = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512, siglip_width=SIGLIP_WIDTH)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return random_adapter(tmp_path_factory.mktemp("init") / "withanyone.safetensors", shapes=(ARC, SIG))


def generated(folder, released, *changes):
    trainer = small_trainer(folder, f"adapter.init={released}", *changes)
    losses, images = trainer.validator.generate()
    return trainer, losses, images[0].astype(float)


@pytest.mark.parametrize("branch", ["arc", "sig"])
def test_a_trained_branch_is_shown_beside_the_other(tmp_path, released, branch):
    trainer, losses, shown = generated(tmp_path / "one", released, f"adapter.branch={branch}")
    assert trainer.socket.weights == {Branch(branch): 1.0}
    assert trainer.socket.adapter is trainer.state.adapter.network
    _, _, both = generated(tmp_path / "both", released, "adapter.branch=both", "adapter.resemblance=0.5")
    _, alone, single = generated(
        tmp_path / "alone", released, f"adapter.branch={branch}", "validation.resemblance=none"
    )
    assert np.array_equal(shown, both)
    assert np.abs(shown - single).max() > 2
    assert losses == alone, "the loss is that of what is trained"


def test_the_resemblance_is_the_users(tmp_path, released, caplog):
    caplog.set_level(logging.INFO, "withanyone")
    trainer, _, shown = generated(tmp_path / "one", released, "validation.resemblance=0.9")
    _announce(trainer)
    assert "Validation generates images with both branches, at resemblance 0.9" in caplog.text
    _, _, both = generated(tmp_path / "both", released, "adapter.branch=both", "adapter.resemblance=0.9")
    assert np.array_equal(shown, both)


def test_a_lora_is_shown_with_what_it_has_learned(tmp_path, released):
    changes = ("train.mode=lora", "train.rank=2", "optim.lr=0.1", "optim.warmup_steps=0")
    trainer, _, before = generated(tmp_path, released, *changes)
    for _ in range(2):
        trainer.step()
    _, images = trainer.validator.generate()
    assert np.abs(before - images[0]).max() > 2


def test_training_is_the_same_whatever_is_shown(tmp_path, released):
    trained = []
    for resemblance in ("0.5", "none"):
        changes = (f"adapter.init={released}", f"validation.resemblance={resemblance}")
        trainer = small_trainer(tmp_path / resemblance, *changes)
        trainer.validate()
        trainer.step()
        trained.append({name: value.detach().clone() for name, value in trainer.state.adapter.parameters.items()})
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_few_photos_are_shown_with_several_seeds(tmp_path):
    """The first of them is the one that a single seed gives."""
    trainer = small_trainer(tmp_path / "one")
    single, images = trainer.validator.scenes, trainer.validator.generate()[1]
    trainer = small_trainer(tmp_path / "many", "validation.seeds=3")
    scenes = trainer.validator.scenes
    assert len(single) == 1
    assert [scene.name for scene in scenes] == [single[0].name + end for end in ("", "_seed_2", "_seed_3")]
    shown = trainer.validator.generate()[1]
    assert np.array_equal(shown[0], images[0])
    assert all(np.abs(shown[0].astype(float) - other).max() > 2 for other in shown[1:])


def test_where_there_is_only_one_branch_it_is_shown_alone(tmp_path):
    arc_only = random_adapter(tmp_path / "arc.safetensors", shapes=(ARC,))
    for number, init in enumerate(("none", arc_only)):
        assert small_trainer(tmp_path / str(number), f"adapter.init={init}").validator.both is None
