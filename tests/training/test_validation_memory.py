"""The memory of a validation: the branch that is not trained, and an image, beside all that training holds."""

from dataclasses import replace

import pytest
import torch
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.training.flux_1 import flux_1_batch, flux_1_models
from withanyone_pack.tests.training.small_cache import SIGLIP_TOKENS, SIGLIP_WIDTH, small_cache
from withanyone_pack.tests.training.small_trainer import HIDDEN, LAYERS, small_trainer
from withanyone_pack.tests.training.test_doctor import FLUX, place, settings_of, visited  # noqa: F401
from withanyone_pack.tests.training.test_memory_plan import CARDS, SCREEN, recipe, without_data

from training.memory.counting import LiveBytes, tensor_bytes
from training.memory.dummy_models import batch_shape, covered
from training.memory.peak import GIB, memory
from training.memory.plan import Planner
from training.memory.validation import IMAGE, KEPT_WEIGHTS, OTHER_BRANCH, validation_bytes
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch, BranchShape

ARC = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512)
SIG = replace(ARC, siglip_width=SIGLIP_WIDTH)
# Of the released file.
RELEASED_SIG = BranchShape(3072, 24, 57, 8, 512, siglip_width=768)


def test_the_prediction_is_what_a_validation_takes(tmp_path):
    photos = small_cache(size_px=128)
    init = random_adapter(tmp_path / "withanyone.safetensors", shapes=(ARC, SIG), dtype=torch.float32)
    trainer = small_trainer(tmp_path / "run", f"adapter.init={init}", "optim.ema=0.9", photos=photos)
    trainer.validator.generate()  # the other branch is read
    with LiveBytes() as counted, trainer.ema_weights():
        trainer.validator.generate()
    other = trainer.validator.both._loaded(torch.float32)
    models = without_data(trainer)
    fake = models.fakes.module(lambda: AdapterNetwork([other.shapes[Branch.SIG]]), torch.float32)
    (crop,) = photos.images[trainer.validator.scenes[0].sample.image].crops
    shape = replace(batch_shape(trainer.state.settings, photos), people=1, covered=covered(crop))
    shape = replace(shape, siglip=(SIGLIP_TOKENS, SIGLIP_WIDTH))
    found = validation_bytes(replace(models, other=fake), shape, trainer.state.settings)
    assert found[OTHER_BRANCH] == tensor_bytes([*other.parameters(), *other.buffers()])
    assert found[KEPT_WEIGHTS] + found[IMAGE] == pytest.approx(counted.peak, rel=0.1)
    small = small_trainer(tmp_path / "none", "validation.num_images=0").state.settings
    assert validation_bytes(models, shape, small) == {}


def test_a_larger_prompt_takes_more(tmp_path):
    trainer = small_trainer(tmp_path)
    models, shape = without_data(trainer), batch_shape(trainer.state.settings, small_cache())
    plain = validation_bytes(models, shape, trainer.state.settings)[IMAGE]
    settings = small_trainer(tmp_path, "validation.prompts=[x --w 256 --h 256]").state.settings
    assert validation_bytes(models, shape, settings)[IMAGE] > 4 * plain


def test_doctor_counts_the_other_branch(place, tmp_path):  # noqa: F811
    shapes = [replace(ARC, heads=1, layers=5), replace(SIG, heads=1, layers=5)]
    init = random_adapter(tmp_path / "both.safetensors", shapes=shapes, dtype=torch.bfloat16)
    alone, both = (
        visited(settings_of(place, f"adapter.init={init}", f"validation.resemblance={each}"), with_steps=False)[1]
        for each in ("none", 0.5)
    )
    assert "peak of tensors in a validation" in alone
    assert f"in a validation instead: {OTHER_BRANCH}" not in alone
    assert f"in a validation instead: {OTHER_BRANCH}" in both
    assert "in a validation" not in visited(settings_of(place, "validation.num_images=0"), with_steps=False)[1]


def test_the_tightest_preset_fits_its_card_with_the_released_adapters_other_branch():
    settings = recipe("12gb")
    models = flux_1_models(settings)
    models = replace(models, other=models.fakes.module(lambda: AdapterNetwork([RELEASED_SIG]), torch.bfloat16))
    found = memory(models, flux_1_batch(settings), settings)
    other = next(part.size for part in found.validating if part.name == OTHER_BRANCH)
    assert other / GIB == pytest.approx(2.6, abs=0.05)
    assert found.validation_peak > found.peak
    assert found.fits(CARDS["12gb"] * GIB - SCREEN["12gb"]), found


def test_what_only_validation_lacks_is_saved_there(tmp_path):
    trainer = small_trainer(tmp_path, "train.mode=lora", "train.rank=2")
    settings, models = trainer.state.settings, without_data(trainer)
    huge = replace(SIG, arc_tokens=512)

    def made(asked):
        alone = asked.validation.resemblance == "none"
        other = None if alone else models.fakes.module(lambda: AdapterNetwork([huge]))
        return replace(models, other=other)

    planner = Planner(batch_shape(settings, small_cache()), made)
    found = planner.plan(settings).memory
    assert found.validation_peak > found.peak
    changes, plan = planner.remedy(settings, found.needed - 1)
    assert changes == {"validation.resemblance": "none"}
    assert plan.memory.needed < found.needed
