"""What `python -m withanyone_core.check` says of adapters."""

import torch
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import random_adapter, random_tensors
from withanyone_pack.tests.check.model_files import RELEASED_ARC, RELEASED_SIG, header_only, one
from withanyone_pack.withanyone_core.adapter.checkpoint import expected_keys
from withanyone_pack.withanyone_core.adapter.places import places_header
from withanyone_pack.withanyone_core.regions.layout import Box


def test_the_released_dual_adapter_would_be_recognized_with_its_dead_tensors(tmp_path, capsys):
    shapes = expected_keys(RELEASED_ARC, "dual") | expected_keys(RELEASED_SIG, "dual")
    dead = {"siglip_in_arc.0.weight": (12288, 768), "siglip_in_arc.0.bias": (12288,)}
    merged = {"note": "merged", "arc_source": "arc.safetensors", "sig_source": "sig.safetensors"}
    finding = one(capsys, header_only(tmp_path / "withanyone.safetensors", shapes | dead, metadata=merged))
    assert finding["is"] == "WithAnyone adapter"
    assert finding["fits"].startswith("FLUX.1-dev, text to image.")
    assert finding["facts"]["layout"] == "dual"
    assert finding["facts"]["stored as"] == "bfloat16"
    assert finding["facts"]["dead tensors dropped"] == "siglip_in_arc.0.bias, siglip_in_arc.0.weight"
    assert finding["facts"]["merged from"] == ["arc.safetensors", "sig.safetensors"]
    assert finding["header"] == merged
    assert finding["tensors"] == 816 + 2
    assert finding["parameters"] == 2_781_573_120 + 12288 * 769


def test_the_places_an_adapter_was_trained_on_are_named(capsys, tmp_path):
    header = places_header([Box(0.0, 0.25, 0.5, 0.75)], 160, 160)
    save_file(random_tensors(), tmp_path / "few.safetensors", metadata=header)
    facts = one(capsys, tmp_path / "few.safetensors")["facts"]
    assert facts["the places it was trained on, in pixels of 160 x 160"] == ["0, 40, 80, 120"]
    unreadable = header | {"withanyone.places": "nowhere"}
    save_file(random_tensors(), tmp_path / "few.safetensors", metadata=unreadable)
    finding = one(capsys, tmp_path / "few.safetensors", status=1)
    assert "withanyone.places in its header cannot be read" in finding["wrong"][0]


def test_a_released_face_editing_adapter_would_be_recognized(tmp_path, capsys):
    finding = one(capsys, header_only(tmp_path / "ke.safetensors", expected_keys(RELEASED_ARC, "single")))
    assert finding["facts"]["layout"] == "single"
    assert "face editing (Ke)" in finding["fits"]
    assert finding["parameters"] == 1_384_882_176


def test_a_small_adapter_says_which_base_it_was_trained_with(tmp_path, capsys):
    finding = one(capsys, random_adapter(tmp_path / "small.safetensors"))
    assert finding["fits"].startswith("a base model of 5 blocks and width 64")
    assert set(finding["facts"]) >= {"arc branch", "sig branch"}


def test_missing_extra_and_misshaped_keys_are_named(tmp_path, capsys):
    tensors = random_tensors()
    del tensors["ipa_arc.3.to_q.weight"]
    tensors["ipa_sig.1.to_out.weight"] = torch.zeros(3, 3)
    tensors["something.else"] = torch.zeros(1)
    save_file(tensors, tmp_path / "a.safetensors")
    (fault,) = one(capsys, tmp_path / "a.safetensors", status=1)["wrong"]
    for word in ("missing: ipa_arc.3.to_q.weight", "unexpected: something.else", "ipa_sig.1.to_out.weight has [3, 3]"):
        assert word in fault


def test_tensors_that_are_left_out_are_listed(tmp_path, capsys):
    extra = {"scale": torch.ones(1), "steps": torch.tensor(7), "learnable_query": torch.zeros(32, 64)}
    save_file(random_tensors() | extra, tmp_path / "a.safetensors")
    facts = one(capsys, tmp_path / "a.safetensors")["facts"]
    assert facts["unknown tensors left out"] == ["scale", "steps"]
    assert facts["dead tensors dropped"] == "learnable_query"
    save_file(random_tensors() | {"double_blocks.0.img_mod.lin.bias": torch.ones(1)}, tmp_path / "b.safetensors")
    assert "weights of FLUX itself" in one(capsys, tmp_path / "b.safetensors", status=1)["wrong"][0]


def test_values_are_counted_when_asked(tmp_path, capsys):
    tensors = random_tensors()
    tensors["ipa_arc.0.to_q.weight"].view(-1)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    save_file(tensors, tmp_path / "a.safetensors")
    one(capsys, tmp_path / "a.safetensors")
    finding = one(capsys, tmp_path / "a.safetensors", "--values", status=1)
    assert finding["facts"]["bad values"] == {"ipa_arc.0.to_q.weight": "1 NaN, 2 infinite"}
    random_adapter(tmp_path / "b.safetensors")
    assert one(capsys, tmp_path / "b.safetensors", "--values")["facts"]["bad values"] == "none"
