"""The socket beside everything else a ComfyUI user may have in the same graph."""

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.model_management
import comfy.samplers
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.comfyui import sampling
from withanyone_pack.tests.comfyui.sampling import (
    EVEN,
    LEFT,
    RIGHT,
    applied,
    noise,
    person,
    prompt,
    sample,
    small_adapter,
    two_faces,
)
from withanyone_pack.tests.comfyui.small_flux import SMALL, flux_parameters, small_flux
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.injection.comfyui.forward import Forward, Pass
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY, UNKNOWN_PART
from withanyone_pack.withanyone_core.layout import Box, Mask, PlacedFace
from withanyone_pack.withanyone_core.timing import Window


@pytest.fixture
def base():
    return small_flux()


@pytest.fixture
def adapter(tmp_path):
    return small_adapter(tmp_path)


def difference(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


# Weights and the base model


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


def test_a_branch_of_weight_zero_is_neither_read_nor_loaded(base, adapter):
    patched = applied(base, adapter, weights={Branch.ARC: 1.0, Branch.SIG: 0.0})
    sample(patched)
    assert {branch for branch, _ in adapter._patchers} == {Branch.ARC}
    assert len(patched.get_additional_models_with_key(KEY)) == 1


def test_only_the_attention_is_resident_while_sampling(base, adapter):
    sample(applied(base, adapter))
    attached = applied(base, adapter).get_additional_models_with_key(KEY)
    names = {name for patcher in attached for name, _ in patcher.model.named_parameters()}
    assert {name.split(".", 1)[1] for name in names} == {"norm2.weight", "norm2.bias", "to_q.weight", "to_out.weight"}


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


# Clones, LoRA, other patches


def test_clones_after_apply_sample_the_same_and_share_the_weights(base, adapter):
    patched = applied(base, adapter)
    clone = patched.clone().clone()
    assert torch.equal(sample(clone), sample(patched))
    for mine, theirs in zip(
        patched.get_additional_models_with_key(KEY), clone.get_additional_models_with_key(KEY), strict=True
    ):
        assert mine.model is theirs.model


def count_blocks(counts, name):
    def replacement(args, extra):
        counts[name] = counts.get(name, 0) + 1
        out = extra["original_block"](args)
        out["img"] = out["img"] * 1.01
        return out

    return replacement


def test_other_nodes_block_patches_survive_before_and_after(base, adapter):
    counts = {}
    before = base.clone()
    before.set_model_patch_replace(count_blocks(counts, "double"), "dit", "double_block", 1)
    before.set_model_patch_replace(count_blocks(counts, "single"), "dit", "single_block", 0)
    after = applied(base, adapter).clone()
    after.set_model_patch_replace(count_blocks(counts, "double"), "dit", "double_block", 1)
    after.set_model_patch_replace(count_blocks(counts, "single"), "dit", "single_block", 0)
    one, two = sample(applied(before, adapter)), sample(after)
    assert counts == {"double": 6, "single": 6}
    assert torch.equal(one, two)
    assert difference(one, sample(applied(base, adapter))) > 1e-3


def test_a_lora_before_or_after_gives_the_same_and_is_taken_back(base, adapter):
    key = "diffusion_model.double_blocks.0.img_attn.proj.weight"
    weight = base.model.state_dict()[key]
    patch = {key: ("diff", (0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)),))}
    plain = sample(applied(base, adapter))
    before = base.clone()
    before.add_patches(patch, 1.0)
    after = applied(base, adapter)
    after.add_patches(patch, 1.0)
    first, second = sample(applied(before, adapter)), sample(after)
    assert torch.equal(first, second)
    assert difference(first, plain) > 1e-3
    assert torch.equal(sample(applied(base, adapter)), plain)


def test_two_applies_add_up_and_share_one_copy_of_the_attention(base, adapter):
    first, second = two_faces()
    both = sample(applied(base, adapter, (first, second)))
    stacked = applied(applied(base, adapter, (first,)), adapter, (second,))
    assert len(stacked.get_additional_models_with_key(KEY)) == 2
    assert difference(sample(stacked), both) < 1e-5


def test_two_applies_may_use_different_adapters(base, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = small_adapter(tmp_path / "a"), small_adapter(tmp_path / "b", seed=9)
    first, second = two_faces()
    mixed = sample(applied(applied(base, one, (first,)), two, (second,)))
    assert difference(mixed, sample(applied(base, one))) > 1e-2
    assert difference(mixed, sample(applied(base, two))) > 1e-2


def test_text_lengthened_inside_the_model_is_noticed(base, adapter):
    def prepend(args):
        args["txt"] = torch.cat([torch.ones_like(args["txt"][:, :5]), args["txt"]], dim=1)
        args["txt_ids"] = torch.cat([torch.zeros_like(args["txt_ids"][:, :5]), args["txt_ids"]], dim=1)
        return args

    seen = []

    def watch(args, extra):
        before = args["img"].clone()
        out = extra["original_block"](args)
        seen.append(before.shape[1])
        return out

    patched = applied(base, adapter)
    patched.set_model_post_input_patch(prepend)
    patched.set_model_patch_replace(watch, "dit", "single_block", 0)
    untouched = []
    first_single = applied(base, adapter, (PlacedFace(person(1), Box(0, 0, 0.1, 0.1)),))
    first_single.set_model_post_input_patch(prepend)
    first_single.set_model_patch_replace(record_change(untouched), "dit", "single_block", 1)
    sample(patched)
    sample(first_single)
    assert set(seen) == {5 + 12 + 80}
    assert untouched


def record_change(seen):
    def replacement(args, extra):
        seen.append(args["img"].clone())
        return extra["original_block"](args)

    return replacement


def stream_changes(base, adapter, faces, **sampling_choices):
    """Tokens of the joint stream that the adapter changed on entry to the second single block, in the first step."""
    with_people, without = [], []
    patched = applied(base, adapter, faces)
    patched.set_model_patch_replace(record_change(with_people), "dit", "single_block", 1)
    plain = base.clone()
    plain.set_model_patch_replace(record_change(without), "dit", "single_block", 1)
    sample(patched, sigmas=(1.0, 0.0), **sampling_choices)
    sample(plain, sigmas=(1.0, 0.0), **sampling_choices)
    return with_people[0], without[0]


def test_the_right_tokens_are_changed_after_a_single_block(base, adapter):
    """The last update before the second single block touches the box's image tokens and no others.

    Everything mixes in attention, so the blocks before are made inert: only the update itself can move a token.
    """
    for block in [*base.model.diffusion_model.double_blocks, *base.model.diffusion_model.single_blocks]:
        for parameter in block.parameters():
            parameter.data.zero_()
    box = Box(0.0, 0.0, 0.2, 0.25)
    with_people, without = stream_changes(base, adapter, (PlacedFace(person(1), box),))
    changed = (with_people - without).abs().amax(dim=(0, 2)).nonzero().flatten().tolist()
    text = 12
    assert changed == [text + row * 10 + column for row in range(2) for column in range(2)]


def test_reference_tokens_and_text_are_never_touched(base, adapter):
    for block in [*base.model.diffusion_model.double_blocks, *base.model.diffusion_model.single_blocks]:
        for parameter in block.parameters():
            parameter.data.zero_()
    kontext = prompt(0, reference_latents=[noise(7)])
    everywhere = (PlacedFace(person(1), Box(0.0, 0.0, 1.0, 1.0)),)
    with_people, without = stream_changes(base, adapter, everywhere, positive=kontext)
    changed = (with_people - without).abs().amax(dim=(0, 2)).nonzero().flatten().tolist()
    assert with_people.shape[1] == 12 + 80 + 80
    assert changed == list(range(12, 12 + 80))


# Batches, prompts, sizes


def test_a_batch_of_three_is_three_single_pictures(base, adapter):
    patched = applied(base, adapter)
    starts = torch.cat([noise(seed) for seed in range(3)])
    batch = sample(patched, start=starts)
    for index in range(3):
        assert difference(batch[index : index + 1], sample(patched, start=noise(index))) < 1e-5


def test_joint_and_split_guidance_agree(base, adapter, monkeypatch):
    patched = applied(base, adapter)
    joint = sample(patched, prompt(0), prompt(1), cfg=3.0)
    monkeypatch.setattr(base.model, "memory_required", lambda *_, **__: float("inf"))
    split = sample(patched, prompt(0), prompt(1), cfg=3.0)
    assert difference(split, joint) < 1e-5


def test_the_negative_prompt_is_steered_only_on_request(base, adapter):
    positive, negative = prompt(0), prompt(1)
    uncond = []

    def watch(apply_model, call):
        kinds = call["cond_or_uncond"]
        out = apply_model(call["input"], call["timestep"], **call["c"])
        uncond.append(out.chunk(len(kinds))[kinds.index(1)].clone())
        return out

    for choice in (False, True, None):
        model = base.clone() if choice is None else applied(base, adapter, unconditional=choice)
        model.set_model_unet_function_wrapper(watch)
        sample(model, positive, negative, cfg=3.0, sigmas=(1.0, 0.0))
    cond_only, both, plain = uncond
    assert difference(cond_only, plain) < 1e-5
    assert difference(both, plain) > 0.05


def test_a_guider_with_three_prompts_does_not_confuse_the_negative_one(base, adapter):
    from comfy_extras.nodes_custom_sampler import Guider_DualCFG

    def run(model):
        seen = []

        def watch(apply_model, call):
            out = apply_model(call["input"], call["timestep"], **call["c"])
            seen.extend(zip(call["cond_or_uncond"], out.chunk(len(call["cond_or_uncond"])), strict=True))
            return out

        model.set_model_unet_function_wrapper(watch)
        guider = Guider_DualCFG(model)
        guider.set_conds(prompt(0), prompt(2), prompt(1))
        guider.set_cfg(3.0, 2.0, nested=True)
        euler = comfy.samplers.sampler_object("euler")
        start = noise()
        guider.sample(start, torch.zeros_like(start), euler, torch.tensor([1.0, 0.0]), disable_pbar=True, seed=0)
        return {kind: out.clone() for kind, out in seen}

    plain, steered = run(base.clone()), run(applied(base, adapter))
    assert difference(steered[0], plain[0]) < 1e-5  # the negative prompt comes first there
    assert difference(steered[2], plain[2]) > 0.05


def test_prompts_of_different_length_and_one_with_references_work(base, adapter):
    patched = applied(base, adapter)
    uneven = sample(patched, prompt(0, tokens=12), prompt(1, tokens=20), cfg=3.0)
    assert torch.isfinite(uneven).all()
    one_reference = sample(patched, prompt(0, reference_latents=[noise(7, height=12, width=12)]), prompt(1), cfg=3.0)
    both = sample(patched, prompt(0, reference_latents=[noise(7)]), prompt(1, reference_latents=[noise(7)]), cfg=3.0)
    assert torch.isfinite(one_reference).all()
    assert difference(both, sample(base, prompt(0, reference_latents=[noise(7)]), prompt(1), cfg=3.0)) > 0.01


@pytest.mark.parametrize(("height", "width"), [(15, 13), (17, 20), (32, 40)])
def test_any_size_is_sampled_with_the_same_faces(base, adapter, height, width):
    patched = applied(base, adapter)
    start = noise(height=height, width=width)
    assert difference(sample(patched, start=start), sample(base, start=start)) > 0.02


def test_a_second_pass_at_another_size_maps_the_boxes_again(base, adapter):
    patched = applied(base, adapter)
    first = sample(patched)
    larger = torch.nn.functional.interpolate(first, scale_factor=2)
    second = sample(patched, start=noise(height=32, width=40), latent=larger, sigmas=(0.6, 0.3, 0.0))
    plain = sample(base, start=noise(height=32, width=40), latent=larger, sigmas=(0.6, 0.3, 0.0))
    assert difference(second, plain) > 0.01


def test_inpainting_keeps_what_is_outside_the_noise_mask(base, adapter):
    original = noise(3)
    mask = torch.zeros(1, 1, 16, 20)
    mask[..., :10] = 1.0
    patched = applied(base, adapter)
    out = sample(patched, latent=original, sigmas=(0.8, 0.4, 0.0), denoise_mask=mask)
    assert torch.allclose(out[..., 10:], original[..., 10:], atol=1e-5)
    assert difference(out, sample(base, latent=original, sigmas=(0.8, 0.4, 0.0), denoise_mask=mask)) > 0.01


# Regions


def test_swapped_boxes_swap_the_people(base, adapter):
    first, second = two_faces()
    swapped = (PlacedFace(first.identity, RIGHT), PlacedFace(second.identity, LEFT))
    order = (PlacedFace(second.identity, LEFT), PlacedFace(first.identity, RIGHT))
    assert difference(sample(applied(base, adapter, swapped)), sample(applied(base, adapter))) > 0.02
    assert difference(sample(applied(base, adapter, swapped)), sample(applied(base, adapter, order))) < 1e-5


def test_a_mask_painted_on_the_box_is_the_box(base, adapter):
    painted = torch.zeros(128, 160)
    painted[32:96, 16:64] = 1.0
    identity = person(1)
    by_mask = sample(applied(base, adapter, (PlacedFace(identity, Mask(painted)),)))
    by_box = sample(applied(base, adapter, (PlacedFace(identity, Box.from_px(16, 32, 64, 96, 160, 128)),)))
    assert torch.equal(by_mask, by_box)


def test_a_person_who_gets_no_cell_is_reported_once(base, adapter, caplog):
    thin = torch.zeros(128, 160)
    thin[:, 50] = 1.0
    faces = (PlacedFace(person(1, "Ada"), Mask(thin)), PlacedFace(person(2), RIGHT))
    with caplog.at_level(logging.WARNING, "withanyone"):
        sample(applied(base, adapter, faces))
    assert [record.getMessage() for record in caplog.records].count(caplog.records[0].getMessage()) == 1
    assert "“Ada” covers no 16-pixel cell" in caplog.text


def test_an_area_prompt_maps_the_boxes_into_its_crop(base, adapter, caplog):
    """Steering an area that holds the box equals steering a picture of that size with the box moved."""
    patched = applied(base, adapter, (PlacedFace(person(1), Box.from_px(96, 32, 128, 64, 160, 128)),))
    crops = []
    patched.set_model_unet_function_wrapper(record_call(crops))
    area = prompt(0, area=(8, 10, 4, 10))
    with caplog.at_level(logging.WARNING, "withanyone"):
        sample(patched, area, sigmas=(1.0, 0.0))
    inside = applied(base, adapter, (PlacedFace(person(1), Box.from_px(16, 0, 48, 32, 80, 64)),))
    alone = []
    inside.set_model_unet_function_wrapper(record_call(alone))
    sample(inside, start=noise()[..., 4:12, 10:20], sigmas=(1.0, 0.0))
    assert crops[0].shape == alone[0].shape == (1, 16, 8, 10)
    assert difference(crops[0], alone[0]) < 1e-5
    assert caplog.records == []


def record_call(outputs):
    def wrapper(apply_model, call):
        outputs.append(apply_model(call["input"], call["timestep"], **call["c"]))
        return outputs[-1]

    return wrapper


def test_tiles_switch_the_adapter_off_with_one_warning(base, adapter, caplog):
    def tiled(apply_model, call):
        halves = call["input"].chunk(2, dim=-1)
        return torch.cat([apply_model(half, call["timestep"], **call["c"]) for half in halves], dim=-1)

    patched, plain = applied(base, adapter), base.clone()
    for model in (patched, plain):
        model.set_model_unet_function_wrapper(tiled)
    with caplog.at_level(logging.WARNING, "withanyone"):
        tiles = sample(patched)
    assert torch.equal(tiles, sample(plain))
    assert len(caplog.records) == 1
    assert "tiled sampling" in caplog.text


def test_an_edit_adapter_without_a_reference_and_the_reverse_are_mentioned_once(base, adapter, tmp_path, caplog):
    (tmp_path / "ke").mkdir()
    edit = small_adapter(tmp_path / "ke", (ARC,), layout="single")
    cases = [
        (edit, {}, "one ArcFace branch, like Ke"),
        (edit, {"reference_latents": [noise(7)]}, None),
        (adapter, {}, None),
        (adapter, {"reference_latents": [noise(7)]}, "There is a Kontext reference"),
    ]
    for which, extras, words in cases:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "withanyone"):
            sample(applied(base, which, weights={Branch.ARC: 1.0}), prompt(0, **extras))
        assert len(caplog.records) == (words is not None)
        assert words is None or words in caplog.text


def test_context_windows_over_the_width_switch_it_off_with_one_warning(base, adapter, caplog):
    from comfy import context_windows as windows

    def windowed(model):
        model = model.clone()
        model.model_options["context_handler"] = windows.IndexListContextHandler(
            windows.get_matching_context_schedule(windows.ContextSchedules.STATIC_STANDARD),
            windows.get_matching_fuse_method(windows.ContextFuseMethods.FLAT),
            context_length=12,
            context_overlap=4,
            dim=3,
        )
        return model

    with caplog.at_level(logging.WARNING, "withanyone"):
        patched = sample(windowed(applied(base, adapter)))
    assert torch.equal(patched, sample(windowed(base)))
    assert [record.getMessage() for record in caplog.records] == [UNKNOWN_PART]


# The window


def test_the_window_is_read_from_the_live_model_sampling(base, adapter):
    from comfy_extras.nodes_model_advanced import ModelSamplingFlux

    steps = (1.0, 0.9, 0.7, 0.5, 0.25, 0.0)
    window = applied(base, adapter, window=Window(0.5, 1.0))
    calls = []

    def spy(model):
        used = []
        original = adapter.part(Branch.ARC, "attention").model[0].forward

        def counted(*args, **kwargs):
            used.append(1)
            return original(*args, **kwargs)

        adapter.part(Branch.ARC, "attention").model[0].forward = counted
        try:
            sample(model, sigmas=steps)
        finally:
            adapter.part(Branch.ARC, "attention").model[0].forward = original
        calls.append(len(used))

    spy(applied(base, adapter))
    spy(window)
    shifted = ModelSamplingFlux().patch(window, 0.5, 0.5, 1024, 1024)[0]
    assert shifted.get_model_object("model_sampling").percent_to_sigma(0.5) < 0.7
    spy(shifted)
    spy(applied(base, adapter, window=Window(0.0, 0.5)))
    spy(applied(base, adapter, window=Window(1.0, 1.0)))
    assert calls[0] == 5
    middle = base.get_model_object("model_sampling").percent_to_sigma(0.5)
    assert calls[1] == sum(sigma <= middle for sigma in steps[:-1])
    assert calls[2] < calls[1]
    assert calls[3] == sum(sigma >= middle for sigma in steps[:-1])
    assert calls[4] == 0


def test_a_step_on_the_windows_edge_is_not_lost_to_rounding(base, adapter):
    edge = base.get_model_object("model_sampling").percent_to_sigma(0.5)
    steps = (edge * (1 + 2e-5), 0.0)
    assert not torch.equal(
        sample(applied(base, adapter, window=Window(0.5, 1.0)), sigmas=steps), sample(base, sigmas=steps)
    )


# Types, devices, compile, ControlNet


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_bases_run_in_their_own_type(adapter, dtype):
    base = small_flux(dtype=dtype)
    exact = sample(applied(small_flux(), adapter))
    assert difference(sample(applied(base, adapter)).float(), exact) < 0.1


def test_a_float16_stream_near_its_limit_stays_finite(adapter):
    """FLUX's own stream reaches five digits; what the adapter adds may pass the largest float16."""
    known = person(1)
    keys_values = [adapter.keys_values(Branch.ARC, known).half()]
    attention = adapter.part(Branch.ARC, "attention").model
    passes = [Pass(slice(0, 2), torch.arange(2, 8), (6,), ((0,),))]
    forward = Forward(passes, {Branch.ARC: 200.0}, {Branch.ARC: attention}, lambda branch, like: keys_values)
    signs = torch.randn(2, 12, 64, generator=torch.Generator().manual_seed(3)).sign()
    stream = (65504 * signs).half()
    before = stream.clone()
    forward.add_people(stream, layer=0, first=2)
    assert stream.isfinite().all()
    assert torch.equal(stream[:, :4], before[:, :4])
    assert torch.equal(stream[:, 10:], before[:, 10:])
    residual = 200.0 * attention[0].float()(before[:, 4:10].float(), (6,), [keys_values[0][0].float()])
    assert torch.allclose(stream[:, 4:10].float(), (before[:, 4:10] + residual).clamp(-65504, 65504), atol=64)
    assert (residual + before[:, 4:10]).abs().max() > 65520  # or the limit was not tried


def test_an_fp8_base_is_no_different(adapter):
    base = small_flux(dtype=torch.float8_e4m3fn, computed_in=torch.float32)
    out = sample(applied(base, adapter))
    assert torch.isfinite(out).all()
    assert difference(out, sample(base)) > 0.02


def test_fp8_halves_the_matrices_of_the_adapter_and_stays_close(base, tmp_path):
    from withanyone_pack.withanyone_core.injection.comfyui.parts import FP8, ComfyAdapter

    exact = small_adapter(tmp_path)
    rounded = ComfyAdapter.open(exact.file.path, fp8=True)
    one, two = sample(applied(base, exact)), sample(applied(base, rounded))
    assert rounded.part(Branch.ARC, "attention").model[0].to_q.weight.dtype == FP8
    assert rounded.part(Branch.ARC, "encoder").model.layers[0].norm1.weight.dtype == torch.float32
    assert 0 < difference(two, one) < 0.25


def test_a_half_precision_file_agrees_with_a_full_one(base, tmp_path):
    for name in ("half", "full"):
        (tmp_path / name).mkdir()
    half = small_adapter(tmp_path / "half", dtype=torch.bfloat16)
    full = small_adapter(tmp_path / "full")
    assert half.keys_values(Branch.ARC, person(1)).dtype == torch.bfloat16
    assert difference(sample(applied(base, half)), sample(applied(base, full))) < 0.05


def test_parts_that_do_not_fit_on_the_device_are_cast_as_they_are_used(base, adapter):
    patched = applied(base, adapter)
    expected = sample(patched)
    attention = patched.get_additional_models_with_key(KEY)[0]
    attention.load(attention.load_device, lowvram_model_memory=1)
    assert any(getattr(layer, "comfy_cast_weights", False) for layer in attention.model.modules())
    assert torch.equal(sample(patched), expected)


def test_a_controlnet_works_beside_it(base, adapter):
    control = small_controlnet()
    image = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(4))
    extras = {"control": control.copy().set_cond_hint(image, 1.0, (0.0, 1.0)), "control_apply_to_uncond": True}
    with_both = sample(applied(base, adapter), prompt(0, **extras), prompt(1))
    assert difference(with_both, sample(applied(base, adapter))) > 1e-3
    assert difference(with_both, sample(base, prompt(0, **extras), prompt(1))) > 1e-3


def small_controlnet():
    import comfy.controlnet
    import comfy.ops
    from comfy.ldm.flux.controlnet import ControlNetFlux

    sizes = flux_parameters({**SMALL, "depth": 1, "depth_single_blocks": 1})
    model = ControlNetFlux(latent_input=False, operations=comfy.ops.manual_cast, dtype=torch.float32, **sizes)
    generator = torch.Generator().manual_seed(6)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return comfy.controlnet.ControlNet(model, load_device=torch.device("cpu"), extra_conds=["y", "guidance"])


def test_the_compiled_model_samples_the_same(base, adapter):
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    expected = sample(applied(base, adapter))
    compiled = TorchCompileModel.execute(applied(base, adapter), "eager").result[0]
    assert difference(sample(compiled), expected) < 1e-5


def test_newer_comfyui_gets_its_own_kind_of_patcher_and_a_factory_for_further_gpus(base, tmp_path, monkeypatch):
    import comfy.model_patcher

    class Dynamic(comfy.model_patcher.ModelPatcher):
        cached_patcher_init = None

    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", Dynamic, raising=False)
    adapter = small_adapter(tmp_path)
    patcher = adapter.part(Branch.ARC, "attention")
    assert type(patcher) is Dynamic
    factory, arguments = patcher.cached_patcher_init
    copy, plain = factory(*arguments), factory(*arguments, disable_dynamic=True)
    assert type(copy) is Dynamic
    assert type(plain) is comfy.model_patcher.ModelPatcher
    assert copy.model is not patcher.model
    assert torch.equal(copy.model[0].to_q.weight, patcher.model[0].to_q.weight)


def test_an_adapter_lora_changes_its_part_and_shares_the_others(base, adapter, tmp_path):
    generator = torch.Generator().manual_seed(8)
    tensors = {
        "ipa_arc.2.to_out.lora_A.weight": torch.randn(4, 128, generator=generator),
        "ipa_arc.2.to_out.lora_B.weight": torch.randn(64, 4, generator=generator),
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    plain = sample(applied(base, adapter))
    trained = adapter.with_lora(read_lora(tmp_path / "lora.safetensors", adapter.file, 1.0))
    faces = two_faces()
    changed = sample(applied(base, trained, faces))
    assert difference(changed, plain) > 1e-3
    assert trained.part(Branch.SIG, "attention") is adapter.part(Branch.SIG, "attention")
    assert trained.part(Branch.ARC, "attention") is not adapter.part(Branch.ARC, "attention")
    identity = faces[0].identity
    assert trained.keys_values(Branch.ARC, identity) is adapter.keys_values(Branch.ARC, identity)
    assert torch.equal(sample(applied(base, adapter)), plain)
    off = adapter.with_lora(read_lora(tmp_path / "lora.safetensors", adapter.file, 0.0))
    assert torch.equal(sample(applied(base, off)), plain)


# What is left behind


def test_nothing_of_a_run_stays_on_the_device(base, adapter):
    patched = applied(base, adapter)
    wrapper = patched.get_wrappers("apply_model", KEY)[0]
    run = wrapper.__closure__[0].cell_contents.run
    filled = []
    patched.set_model_patch_replace(
        lambda args, extra: (filled.append(len(run.keys_values)), extra["original_block"](args))[1],
        "dit",
        "single_block",
        2,
    )
    sample(patched)
    assert max(filled) == 2
    assert run.keys_values == {}
    assert run.coverages == {}


def test_an_interrupted_run_leaves_nothing_and_the_next_one_is_the_same(base, adapter):
    patched = applied(base, adapter)
    expected = sample(patched)
    run = patched.get_wrappers("apply_model", KEY)[0].__closure__[0].cell_contents.run
    broken = patched.clone()

    def stop(args, extra):
        raise comfy.model_management.InterruptProcessingException

    broken.set_model_patch_replace(stop, "dit", "single_block", 1)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(broken)
    assert run.keys_values == {}
    assert torch.equal(sample(patched), expected)


# What the user reads


def test_a_model_of_another_size_is_refused_in_words(adapter):
    other = small_flux({**SMALL, "depth": 3})
    with pytest.raises(ValueError, match=r"model of width 64 with 5 blocks; the connected Flux has width 64 and 6"):
        applied(other, adapter)


def test_an_adapter_of_another_width_is_refused_in_words(base, tmp_path):
    wide = small_adapter(tmp_path, (replace(ARC, hidden=128), replace(SIG, hidden=128)))
    words = (
        r"made for a model of width 128 with 5 blocks; the connected Flux has width 64 and 5 blocks\. Use FLUX\.1-dev"
    )
    with pytest.raises(ValueError, match=words):
        applied(base, wide)


def test_a_model_without_blocks_is_refused_in_words(base, adapter):
    strange = base.clone()
    strange.model = type("SDXL", (), {"diffusion_model": torch.nn.Linear(2, 2)})()
    with pytest.raises(ValueError, match=r"works on FLUX\.1 models; SDXL has no double_blocks"):
        sampling.apply_adapter(_as_is(strange), adapter, two_faces(), sampling.Settings(EVEN))


def _as_is(patcher):
    patcher.clone = lambda: patcher
    return patcher


def test_a_lookalike_of_flux_is_refused_in_words(adapter):
    chroma = small_flux()
    chroma.model.diffusion_model.vector_in = None
    with pytest.raises(ValueError, match=r"similar blocks but is another model"):
        applied(chroma, adapter)


def test_a_person_without_siglip_is_refused_only_where_it_matters(base, adapter):
    known = person(1)
    bare = Identity("Ada", known.arcface, None, known.crop)
    with pytest.raises(ValueError, match=r"“Ada” has no SigLIP tokens.*resemblance 0"):
        applied(base, adapter, (PlacedFace(bare, LEFT),))
    sample(applied(base, adapter, (PlacedFace(bare, LEFT),), {Branch.ARC: 1.0, Branch.SIG: 0.0}))


def test_a_person_of_another_face_model_or_tower_is_refused(base, adapter):
    known = person(1)
    foreign = Identity("Ada", known.arcface[:128], known.siglip, known.crop)
    with pytest.raises(ValueError, match=r"“Ada” carries a face vector of shape \[128\].*512 numbers"):
        applied(base, adapter, (PlacedFace(foreign, LEFT),))
    wide = Identity("Ada", known.arcface, torch.zeros(16, 1152), known.crop)
    with pytest.raises(ValueError, match=r"SigLIP tokens of width 1152; adapter\.safetensors expects 32"):
        applied(base, adapter, (PlacedFace(wide, LEFT),))


def test_embeddings_that_are_not_finite_are_refused(base, adapter):
    known = person(1)
    broken = Identity("Ada", known.arcface * float("nan"), known.siglip, known.crop)
    with pytest.raises(ValueError, match=r"made for “Ada” are not finite"):
        applied(base, adapter, (PlacedFace(broken, LEFT),))
    assert torch.isfinite(sample(applied(base, adapter))).all()


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_latent_that_is_not_finite_is_refused_and_the_next_one_is_sampled(base, adapter, value):
    patched = applied(base, adapter)
    expected = sample(patched)
    broken = noise()
    broken[0, 3, 5, 7] = value
    with pytest.raises(ValueError, match=r"The latent holds NaN or infinite values, .* overflowed in float16"):
        sample(patched, start=broken)
    assert torch.equal(sample(patched), expected)
    assert not sample(base, start=broken).isfinite().all()  # without the adapter, ComfyUI shows a black picture


@pytest.mark.parametrize(("shape", "branch"), [(ARC, Branch.ARC), (SIG, Branch.SIG)])
def test_single_branch_files_run(base, tmp_path, shape, branch):
    adapter = small_adapter(tmp_path, (shape,), layout="single")
    assert difference(sample(applied(base, adapter, weights={branch: 1.0})), sample(base)) > 0.05
