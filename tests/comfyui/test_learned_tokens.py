"""Tokens learned for one person, in ComfyUI's sampler and in diffusers, beside people who have none."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

import folder_paths
from withanyone_pack.nodes.identity_library import LoadIdentity, SaveIdentity
from withanyone_pack.tests.adapter.random_adapter import ARC, random_adapter
from withanyone_pack.tests.comfyui.sampling import (
    LEFT,
    RIGHT,
    applied,
    latent_for,
    noise,
    person,
    prompt,
    sample,
    small_adapter,
)
from withanyone_pack.tests.comfyui.small_flux import SMALL_BASES
from withanyone_pack.tests.training.small_bases import BASES
from withanyone_pack.withanyone_core.adapter.checkpoint import fingerprint
from withanyone_pack.withanyone_core.adapter.network import AdapterNetwork
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.base_models.registry import base_of_module
from withanyone_pack.withanyone_core.identity import LearnedTokens
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter
from withanyone_pack.withanyone_core.injection.diffusers import AdapterSocket
from withanyone_pack.withanyone_core.injection.placing import placed_identities
from withanyone_pack.withanyone_core.regions.layout import Mask, PlacedFace
from withanyone_pack.withanyone_core.timing import Window

from training.base.registry import velocity

SIGMAS = (1.0, 0.7, 0.4, 0.0)
WEIGHTS = {Branch.ARC: 0.7, Branch.SIG: 0.4}
PATCHES = 16  # of `person`
BRANCHES = {"arc": (Branch.ARC,), "sig": (Branch.SIG,), "both": (Branch.ARC, Branch.SIG)}


@pytest.fixture(params=SMALL_BASES)
def base(request):
    return SMALL_BASES[request.param]()


@pytest.fixture
def adapter(tmp_path):
    return small_adapter(tmp_path)


def learned(file, branches=tuple(Branch), seed=9):
    """Tokens of random numbers in half precision, as training writes them."""
    generator = torch.Generator().manual_seed(seed)
    counts = {Branch.ARC: ARC.arc_tokens, Branch.SIG: PATCHES + ARC.arc_tokens}
    tokens = {each.value: torch.randn(counts[each], ARC.hidden, generator=generator).half() for each in branches}
    return LearnedTokens(fingerprint(file), adapter_name=file.path.name, **tokens)


def trained(file, branches=tuple(Branch), seed=1, **changes):
    return replace(person(seed, "Ada"), learned=learned(file, branches, seed), **changes)


def projected(adapter, who):
    """The person with the adapter's own tokens of them in the place of learned ones."""
    tokens = {}
    for branch in Branch:
        encoder = adapter.encoder(branch).model
        siglip = None if branch is Branch.ARC else who.siglip[None]
        with torch.no_grad():
            tokens[branch.value] = encoder.tokens(who.arcface[None], siglip)[0]
    return replace(who, learned=LearnedTokens(fingerprint(adapter.file), **tokens))


def text_for(small):
    """The prompt as the transformer is given it; ComfyUI fills FLUX.2's up to 512 tokens with zeros, from the left."""
    context, extras = prompt(0)[0]
    if small.name == "flux.1":
        return {"t5": context, "pooled": extras["pooled_output"]}
    return {"states": torch.nn.functional.pad(context, (0, 0, 512 - context.shape[1], 0))}


def in_diffusers(base, file, faces):
    """The latent that diffusers' transformer ends with, from the same noise, text and people."""
    small = BASES[base_of_module(base.model.diffusion_model).name]
    model, latent = small.transformer(), latent_for(base, noise())
    socket = AdapterSocket(model, AdapterNetwork.load(file), WEIGHTS)
    size = 8 * noise().shape[3], 8 * noise().shape[2]
    people = placed_identities(
        [[face.identity for face in faces]], [[face.region for face in faces]], *size, file, tuple(WEIGHTS)
    )
    with torch.no_grad(), socket.placed(people):
        for level, following in pairwise(SIGMAS):
            found = velocity(model, latent, torch.tensor([level]), text_for(small), prompt(0)[0][1]["guidance"])
            latent = latent + (following - level) * found
    return base.model.process_latent_out(latent)


@pytest.mark.parametrize("branches", BRANCHES)
def test_both_sockets_sample_the_same_people(base, adapter, branches):
    """A person with learned tokens in a mask, an ordinary one overlapping it, and another one with tokens."""
    mask = torch.zeros(16, 20)
    mask[2:14, 2:9] = 1
    faces = (
        PlacedFace(trained(adapter.file, BRANCHES[branches]), Mask(mask)),
        PlacedFace(person(2, "Ben"), LEFT),
        PlacedFace(trained(adapter.file, BRANCHES[branches], seed=3), RIGHT),
    )
    sampled = sample(applied(base, adapter, faces, WEIGHTS), sigmas=SIGMAS)
    expected = in_diffusers(base, adapter.file, faces)
    assert (sampled - expected).abs().max() < 2e-5 * expected.abs().max()
    ordinary = (replace(faces[0], identity=person(1, "Ada")), *faces[1:])
    assert (sample(applied(base, adapter, ordinary, WEIGHTS), sigmas=SIGMAS) - sampled).abs().max() > 1e-3


def test_tokens_that_the_projectors_would_make_change_nothing(base, adapter):
    faces = PlacedFace(person(1), LEFT), PlacedFace(person(2), RIGHT)
    same = (PlacedFace(projected(adapter, person(1)), LEFT), faces[1])
    plain, started = (sample(applied(base, adapter, each, WEIGHTS)) for each in (faces, same))
    assert (started - plain).abs().max() < 1e-5 * plain.abs().max()


def test_weight_window_and_curve_work_as_for_everybody(base, adapter):
    """Compared with the same numbers made by the projectors."""
    ordinary, same = person(1), projected(adapter, person(1))
    for placed, settings in (
        ({"weight": 0.6}, {}),
        ({"weight": 0.0}, {}),
        ({"window": Window(0.0, 0.4)}, {}),
        ({}, {"window": Window(0.3, 1.0)}),
    ):
        one, two = (
            sample(applied(base, adapter, (PlacedFace(who, LEFT, **placed), PlacedFace(person(2), RIGHT)), **settings))
            for who in (ordinary, same)
        )
        assert (one - two).abs().max() < 1e-5 * one.abs().max()


def test_a_branch_without_learned_tokens_reads_the_person(adapter):
    known, arc = person(1), trained(adapter.file, (Branch.ARC,))
    assert torch.equal(adapter.keys_values(Branch.SIG, arc), adapter.keys_values(Branch.SIG, known))
    assert not torch.equal(adapter.keys_values(Branch.ARC, arc), adapter.keys_values(Branch.ARC, known))


def test_learned_tokens_of_the_sig_branch_need_no_siglip(base, adapter):
    with_photo, without = trained(adapter.file), trained(adapter.file, siglip=None)
    both = (sample(applied(base, adapter, (PlacedFace(who, LEFT),), WEIGHTS)) for who in (with_photo, without))
    assert torch.equal(*both)
    assert in_diffusers(base, adapter.file, (PlacedFace(without, LEFT),)).isfinite().all()
    with pytest.raises(ValueError, match="has no SigLIP tokens"):
        applied(base, adapter, (PlacedFace(trained(adapter.file, (Branch.ARC,), siglip=None), LEFT),), WEIGHTS)


def test_another_adapter_is_refused_by_both_with_both_names(base, adapter, tmp_path):
    who = trained(adapter.file)
    other = ComfyAdapter.open(random_adapter(tmp_path / "other.safetensors", seed=5))
    own, foreign = fingerprint(adapter.file), fingerprint(other.file)
    words = (
        rf"tokens of “Ada” were learned with adapter.safetensors \(fingerprint {own}\) and mean nothing to "
        rf"other.safetensors \(fingerprint {foreign}\). Load the adapter"
    )
    with pytest.raises(ValueError, match=words):
        applied(base, other, (PlacedFace(who, LEFT),))
    with pytest.raises(ValueError, match=words):
        in_diffusers(base, other.file, (PlacedFace(who, LEFT),))


def test_tokens_of_another_size_are_refused(adapter):
    for tokens in (torch.ones(ARC.arc_tokens, 32), torch.ones(3, ARC.hidden)):
        who = replace(person(1, "Ada"), learned=LearnedTokens(fingerprint(adapter.file), arc=tokens))
        with pytest.raises(ValueError, match=r"expected \[4, 64\]"):
            adapter.keys_values(Branch.ARC, who)


def test_saved_and_loaded_by_the_nodes_they_are_the_same(adapter, tmp_path, monkeypatch):
    for which in ("input", "output", "temp"):
        monkeypatch.setattr(folder_paths, f"{which}_directory", str(tmp_path / which))
    who = trained(adapter.file)
    SaveIdentity.execute(who, "%name%")
    loaded = LoadIdentity.execute("Ada_00001_.safetensors [output]").result[0]
    assert loaded.learned.adapter_name == "adapter.safetensors"
    for branch in Branch:
        assert torch.equal(adapter.keys_values(branch, loaded), adapter.keys_values(branch, who))
