"""What a weight, a branch and a person change, and what is loaded and computed for it."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.adapter.random_adapter import ARC
from withanyone_pack.tests.comfyui.sampling import EVEN, LEFT, RIGHT, applied, difference, sample, two_faces
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.injection.comfyui import parts
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY
from withanyone_pack.withanyone_core.regions.layout import PlacedFace


@pytest.mark.parametrize("weights", [{Branch.ARC: 0.0, Branch.SIG: 0.0}])
def test_weight_zero_is_the_base_to_the_bit(base, adapter, weights):
    assert torch.equal(sample(applied(base, adapter, weights=weights)), sample(base))


def test_people_of_weight_zero_are_as_if_they_were_not_there(base, adapter):
    first, second = two_faces()
    absent = PlacedFace(second.identity, LEFT, weight=0.0)
    assert torch.equal(sample(applied(base, adapter, (first, absent))), sample(applied(base, adapter, (first,))))
    assert torch.equal(sample(applied(base, adapter, (absent,))), sample(base))


def test_a_persons_weight_scales_the_values(base, adapter):
    first, _ = two_faces()
    alone = sample(applied(base, adapter, (PlacedFace(first.identity, LEFT, 0.5),)))
    halved = sample(applied(base, adapter, (first,), {branch: weight / 2 for branch, weight in EVEN.items()}))
    assert difference(alone, halved) < 1e-5


def test_the_adapter_changes_what_is_sampled_and_leaves_the_base_alone(base, adapter):
    before = sample(base)
    patched = applied(base, adapter)
    assert difference(sample(patched), before) > 0.05
    assert torch.equal(sample(base), before)
    assert base.wrappers == {}
    assert base.additional_models == {}
    assert base.callbacks == {}


def test_a_branch_of_weight_zero_is_neither_read_nor_loaded(base, adapter, monkeypatch):
    def counted(file, branch, *rest, **more):
        read.append(branch)
        return load(file, branch, *rest, **more)

    load, read = parts.read_part, []
    monkeypatch.setattr(parts, "read_part", counted)
    patched = applied(base, adapter, weights={Branch.ARC: 1.0, Branch.SIG: 0.0})
    sample(patched)
    assert set(read) == {Branch.ARC}
    (attention,) = patched.get_additional_models_with_key(KEY)
    assert attention.model[0].to_q.weight.shape == (ARC.inner, ARC.hidden)


def test_only_the_attention_is_resident_while_sampling(base, adapter):
    sample(applied(base, adapter))
    attached = applied(base, adapter).get_additional_models_with_key(KEY)
    names = {name for patcher in attached for name, _ in patcher.model.named_parameters()}
    assert {name.split(".", 1)[1] for name in names} == {"to_q.weight", "to_q.bias", "to_out.weight"}


def test_a_changed_slider_weight_or_box_makes_no_new_keys_and_values(base, adapter, monkeypatch):
    first, second = two_faces()
    applied(base, adapter)
    once = applied(base, adapter, (first, second))
    made = []
    monkeypatch.setattr(adapter, "_encode", lambda *args: made.append(args))
    again = applied(base, adapter, (PlacedFace(first.identity, RIGHT, 0.3),), {Branch.ARC: 0.1, Branch.SIG: 0.9})
    sample(once)
    sample(again)
    assert made == []


def test_keys_and_values_go_with_the_person(base, adapter):
    faces = two_faces()
    patched = applied(base, adapter, faces)
    assert len(adapter._keys_values) == 2
    del faces, patched
    import gc

    gc.collect()
    assert len(adapter._keys_values) == 0
