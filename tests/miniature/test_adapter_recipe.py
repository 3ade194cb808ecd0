"""A few hundred steps of the adapter's recipe, on photos rendered here and from the shipped models, end at one loss."""

import pytest
import torch
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.rooms import add_training

add_training()

from withanyone_pack.miniature.recipes.photos import PhotoSet, write_photos

from training import finetune, prepare
from training.cache.cache import Cache
from training.loop.records import read_rows
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.shape import Branch

RECIPES = ROOT / "training/recipes"
PHOTOS = PhotoSet(first=200_000, identities=4, portraits=4, groups=6)
STEPS, LAST = 200, 50
# Other processors sum in another order, and two hundred steps carry that on.
TOLERANCE = 0.02
LOSS = 0.89098

# Smaller batches, exact sums and no pictures in between; all else is the recipe's, its phases and losses too.
CHANGES = (
    f"optim.steps={STEPS}",
    "optim.batch=2",
    "optim.warmup=20",
    "base.precision=fp32",
    "eval.every=1000",
    "eval.prompts=0",
    "save.every=1000",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    write_photos(PHOTOS, folder / "photos", workers=1)
    settings = (f"data={folder / 'photos'}", f"cache={folder / 'cache'}", "crops=1", "held_out=0", "workers=1")
    assert prepare.main([str(RECIPES / "prepare_miniature.yaml"), *settings]) == 0
    return folder / "cache"


@pytest.fixture(scope="module")
def run(cache):
    torch.set_num_threads(1)
    out = cache.parent / "run"
    settings = (f"out={out}", f"data.cache={cache}", *CHANGES)
    assert finetune.main([str(RECIPES / "miniature.yaml"), *settings]) == 0
    return out


def test_everybody_is_found_and_named(cache):
    prepared = Cache.open(cache)
    assert len(prepared.identities) == PHOTOS.identities
    assert any(picture.people > 1 for picture in prepared.pictures)


def test_the_run_ends_at_a_fixed_loss(run):
    rows = read_rows(run / "metrics.csv")
    losses = [float(row["loss"]) for row in rows]
    assert len(losses) == STEPS
    assert sum(losses[-LAST:]) / LAST == pytest.approx(LOSS, rel=TOLERANCE)


def test_it_leaves_an_adapter(run):
    assert set(inspect_adapter(run / "adapter.safetensors").shapes) == {Branch.ARC}
