"""The predicted memory against published figures at full size, and against real steps of small models."""

import copy

import pytest
import torch
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.flux_1 import architecture, flux_1_batch, flux_1_models, flux_1_vae
from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_trainer import small_trainer

from training.base.flux1 import LatentScale
from training.configuration.finetune import Finetune, TrainSettings
from training.configuration.learning import OptimSettings
from training.configuration.reading import read_settings
from training.losses.decode import decoded
from training.memory.counting import LiveBytes, tensor_bytes
from training.memory.dry_run import DummyModels
from training.memory.dummy_models import batch_shape, changed, covered
from training.memory.fake_tensors import AssumeOnes, DummyAdapter, FakeTensors
from training.memory.peak import GIB, Memory, Part, memory, state_bytes
from training.memory.plan import Planner
from training.memory.trial import STEPS, measure_steps
from training.memory.weight_bytes import base_bytes, block_bytes
from withanyone_core.adapter.shape import BranchShape

ARC = BranchShape(3072, 24, 57, 8, 512)
GIVEN = ("out=run", "base.path=flux", "data.cache=cache", "adapter.init=none", "id_loss.recognizer=face.onnx")
SCREEN = {"12gb": 2 * GIB}  # what a desktop and a browser may take of the card of a home computer
CARDS = {"12gb": 12, "16gb": 16, "24gb": 24, "80gb": 80}


def recipe(name, *changes):
    return read_settings(Finetune, ROOT / "training" / "recipes" / f"{name}.yaml", [*GIVEN, *changes])


@pytest.fixture(scope="module")
def transformer():
    return FakeTensors().transformer(architecture(), "nf4")


@pytest.mark.parametrize(
    ("precision", "expected"), [("bf16", 22.2), ("fp8", 11.1), ("int8", 11.1), ("nf4", 5.7), ("fp32", 44.3)]
)
def test_the_base_model_takes_what_others_counted(transformer, precision, expected):
    """The published count packs every number; here biases and the layers around the blocks stay bf16."""
    assert base_bytes(transformer, precision) / GIB == pytest.approx(expected, rel=0.02)


def test_matrices_that_were_packed_for_a_rehearsal_still_count(transformer):
    assert base_bytes(FakeTensors().transformer(architecture(num_layers=1, num_single_layers=1), "bf16"), "bf16") == (
        base_bytes(FakeTensors().transformer(architecture(num_layers=1, num_single_layers=1), "nf4"), "bf16")
    )


@pytest.mark.parametrize(
    ("rank", "millions", "gib"), [(16, 14.8, 0.22), (32, 29.6, 0.44), (64, 59.2, 0.88), (128, 118.4, 1.76)]
)
def test_low_rank_updates_take_16_bytes_a_number(rank, millions, gib):
    """Weights, gradients and both averages of AdamW in float32."""
    trained = FakeTensors().adapter([ARC], TrainSettings(mode="lora", rank=rank), torch.bfloat16).trained
    count = sum(parameter.numel() for parameter in trained)
    assert count / 1e6 == pytest.approx(millions, abs=0.05)
    assert (2 * tensor_bytes(trained) + state_bytes(trained, OptimSettings())) / GIB == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize(("name", "gib"), [("adamw", 20.6), ("adamw8bit", 12.9), ("prodigy", 30.96)])
def test_the_whole_branch_with_its_optimizer(name, gib):
    made = FakeTensors().adapter([ARC], TrainSettings(mode="full"), torch.bfloat16)
    assert sum(parameter.numel() for parameter in made.trained) == 1_384_882_176
    optim = OptimSettings(name=name, lr=1.0)
    assert (2 * tensor_bytes(made.trained) + state_bytes(made.trained, optim)) / GIB == pytest.approx(gib, abs=0.1)


def test_a_frozen_branch_in_bf16():
    made = FakeTensors().adapter([ARC], TrainSettings(mode="lora", rank=16), torch.bfloat16)
    frozen = [parameter for parameter in made.network.parameters() if not parameter.requires_grad]
    assert tensor_bytes(frozen) / GIB == pytest.approx(2.6, abs=0.05)


def kept_bytes(doubles, singles, side_px, checkpointed):
    """What a forward pass of full width leaves for the backward pass."""
    fakes = FakeTensors()
    model = fakes.transformer(architecture(num_layers=doubles, num_single_layers=singles), "bf16")
    if checkpointed:
        model.enable_gradient_checkpointing()
    tokens = (side_px // 16) ** 2
    inputs = {
        "hidden_states": fakes.tensor(1, tokens, 64, dtype=torch.bfloat16).requires_grad_(),
        "encoder_hidden_states": fakes.tensor(1, 512, 4096, dtype=torch.bfloat16).requires_grad_(),
        "pooled_projections": fakes.tensor(1, 768, dtype=torch.bfloat16),
        "timestep": torch.ones(1, dtype=torch.bfloat16),
        "guidance": torch.ones(1, dtype=torch.bfloat16),
    }
    counted = LiveBytes()
    with counted, AssumeOnes():
        made = model(**inputs, img_ids=torch.zeros(tokens, 3), txt_ids=torch.zeros(512, 3), return_dict=False)
    assert made[0].requires_grad
    return counted.live


@pytest.mark.parametrize(("side_px", "inputs", "all_kept"), [(512, 0.50, 7.5), (1024, 1.50, 22.4)])
def test_what_blocks_keep(side_px, inputs, all_kept):
    """The published count is of blocks that keep a little more than diffusers' do."""
    for checkpointed, expected, near in ((True, inputs, 0.02), (False, all_kept, 0.15)):
        one = kept_bytes(1, 1, side_px, checkpointed)
        double, single = (kept_bytes(*count, side_px, checkpointed) - one for count in ((2, 1), (1, 2)))
        assert (19 * double + 38 * single) / GIB == pytest.approx(expected, rel=near)


@pytest.mark.parametrize(("side_px", "plain", "checkpointed"), [(512, 3.6, 1.5), (1024, 14.5, 5.8)])
def test_what_a_decode_takes(side_px, plain, checkpointed):
    """Of the published layers, whose `x * sigmoid(x)` keeps a fourth tensor beside the three of diffusers' SiLU."""
    fakes = FakeTensors()
    vae = fakes.module(flux_1_vae, torch.bfloat16)

    def peak(decode):
        counted = LiveBytes()
        latent = fakes.tensor(1, 16, side_px // 8, side_px // 8).requires_grad_()
        with counted, AssumeOnes():
            decode(latent).sum().backward()
        return counted.peak / GIB

    assert peak(lambda latent: vae.decode(latent.to(vae.dtype)).sample) == pytest.approx(3 / 4 * plain, rel=0.07)
    assert peak(lambda latent: decoded(vae, latent, LatentScale())) == pytest.approx(3 / 4 * checkpointed, rel=0.07)


@pytest.mark.parametrize("name", CARDS)
def test_a_preset_fits_its_card(name):
    settings = recipe(name)
    found = memory(flux_1_models(settings), flux_1_batch(settings), settings)
    assert found.fits(CARDS[name] * GIB - SCREEN.get(name, 0)), found
    # A preset that leaves half of its card empty would be for a smaller one.
    assert found.needed > CARDS[name] * GIB / 2


def test_what_does_not_fit_comes_with_what_would():
    settings = recipe("24gb")
    planner = Planner(flux_1_batch(settings), flux_1_models)
    assert not planner.plan(settings).memory.fits(16 * GIB)
    assert planner.remedy(settings, 16 * GIB)[0] == {"base.precision": "nf4"}
    changes, plan = planner.remedy(settings, 12 * GIB)
    assert changes.keys() == {"base.precision", "memory.blocks_to_swap"}
    assert plan.settings == changed(settings, changes)
    assert plan.memory.fits(12 * GIB)
    fewer = changed(settings, {**changes, "memory.blocks_to_swap": changes["memory.blocks_to_swap"] - 4})
    assert not planner.plan(fewer).memory.fits(12 * GIB)
    assert planner.remedy(settings, 2 * GIB) is None


def test_swapped_blocks_leave_the_device_but_for_two(transformer):
    settings = recipe("12gb")
    models = flux_1_models(settings)
    planner = Planner(flux_1_batch(settings), lambda _: models)
    plain, swapped = (planner.plan(each).memory for each in (changed(settings, {"memory.blocks_to_swap": 0}), settings))
    assert plain.host == 0
    two = swapped.host - (plain.peak - swapped.peak)
    blocks = block_bytes(transformer, "nf4")
    assert 2 * min(blocks) <= two <= 2 * max(blocks)


def without_data(trainer):
    """The trainer's models without data, as `make_dummy_models` makes them from files."""
    fakes, frozen = FakeTensors(), trainer.state.frozen
    empty = [fakes.without_data(copy.deepcopy(each)) for each in (frozen.transformer, frozen.vae, frozen.recognizer)]
    shapes = list(trainer.state.adapter.network.shapes.values())
    adapter = fakes.adapter(shapes, trainer.state.settings.train, torch.float32)
    return DummyModels(
        fakes, type(frozen)(empty[0], empty[1], frozen.scale, empty[2]), adapter, trainer.state.adapter.weights
    )


RUNS = {
    "full": ("train.mode=full",),
    "lora": ("train.mode=lora", "train.rank=8"),
    "kv_out, both branches": ("train.mode=kv_out", "adapter.branch=both"),
    "checkpointed": ("memory.gradient_checkpointing=true", "memory.vae_gradient_checkpointing=true"),
    "accumulated, averaged": ("optim.gradient_accumulation_steps=2", "optim.batch_size=2", "optim.ema=0.9"),
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_the_prediction_is_what_two_real_steps_take(tmp_path, changes):
    trainer = small_trainer(
        tmp_path, "id_loss.max_sigma=1", "data.id_dropout=0", *changes, photos=small_cache(size_px=128)
    )
    taken = measure_steps(trainer)
    predicted = memory(without_data(trainer), taken.shape, trainer.state.settings)
    assert len(taken.losses) == STEPS
    assert predicted.peak == pytest.approx(taken.measured, rel=0.1)
    trained = {name: value.numel() for name, value in trainer.state.adapter.parameters.items()}
    adapter: DummyAdapter = without_data(trainer).adapter
    assert sorted(trained.values()) == sorted(each.numel() for each in adapter.trained)


def test_the_largest_pass_of_a_cache(tmp_path):
    photos = small_cache(size_px=64)
    settings = recipe("24gb", "optim.batch_size=3", "nce.negatives=16")
    load = batch_shape(settings, photos)
    assert (load.width_px, load.height_px, load.batch, load.people) == (64, 64, 3, 2)
    assert load.negatives == (len(photos.negatives.embeddings), 16)
    crops = [crop for image in photos.images if not image.held_out for crop in image.crops]
    assert load.covered == max(map(covered, crops)) <= load.tokens


def test_what_a_card_needs():
    needed = Memory((Part("held", 10 * GIB),), (Part("passing", 2 * GIB),)).needed
    assert needed / GIB == pytest.approx(14.2)
