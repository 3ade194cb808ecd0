"""The socket beside clones, LoRAs and other nodes' patches, and the tokens that it changes."""

import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.comfyui.sampling import (
    applied,
    difference,
    noise,
    person,
    prompt,
    sample,
    small_adapter,
    text_tokens,
    two_faces,
)
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY
from withanyone_pack.withanyone_core.regions.layout import Box, PlacedFace


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
    assert len(stacked.get_additional_models_with_key(KEY)) == 1
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
    assert set(seen) == {5 + text_tokens(base) + 80}
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
    text = text_tokens(base)
    assert changed == [text + row * 10 + column for row in range(2) for column in range(2)]


def test_reference_tokens_and_text_are_never_touched(base, adapter):
    for block in [*base.model.diffusion_model.double_blocks, *base.model.diffusion_model.single_blocks]:
        for parameter in block.parameters():
            parameter.data.zero_()
    kontext = prompt(0, reference_latents=[noise(7)])
    everywhere = (PlacedFace(person(1), Box(0.0, 0.0, 1.0, 1.0)),)
    with_people, without = stream_changes(base, adapter, everywhere, positive=kontext)
    changed = (with_people - without).abs().amax(dim=(0, 2)).nonzero().flatten().tolist()
    text = text_tokens(base)
    assert with_people.shape[1] == text + 80 + 80
    assert changed == list(range(text, text + 80))
