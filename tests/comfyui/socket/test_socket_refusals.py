"""What does not fit is refused, and the message says why."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.adapter.random_adapter import ARC, SIG, random_tensors
from withanyone_pack.tests.comfyui import sampling
from withanyone_pack.tests.comfyui.sampling import (
    EVEN,
    LEFT,
    applied,
    joins_tokens,
    noise,
    person,
    sample,
    small_adapter,
    two_faces,
)
from withanyone_pack.tests.comfyui.small_flux import SMALL, small_flux
from withanyone_pack.withanyone_core.adapter.base import METADATA_KEY
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter
from withanyone_pack.withanyone_core.regions.layout import PlacedFace


def test_a_model_of_another_size_is_refused_with_a_readable_message(adapter):
    other = small_flux({**SMALL, "depth": 3})
    with pytest.raises(ValueError, match=r"model of width 64 with 5 blocks; the connected Flux has width 64 and 6"):
        applied(other, adapter)


def test_an_adapter_of_another_width_is_refused_with_a_readable_message(base, tmp_path):
    wide = small_adapter(tmp_path, (replace(ARC, hidden=128), replace(SIG, hidden=128)))
    words = r"a model of width 128 with 5 blocks; the connected Flux2? has width 64 and 5 blocks\. Use the model it was"
    with pytest.raises(ValueError, match=words):
        applied(base, wide)


def test_a_model_without_blocks_is_refused_with_a_readable_message(base, adapter):
    strange = base.clone()
    strange.model = type("SDXL", (), {"diffusion_model": torch.nn.Linear(2, 2)})()
    with pytest.raises(ValueError, match=r"works on FLUX\.1 and FLUX\.2 models; SDXL has no double_blocks"):
        sampling.apply_adapter(_as_is(strange), adapter, two_faces(), sampling.Settings(EVEN))


def _as_is(patcher):
    patcher.clone = lambda: patcher
    return patcher


def test_a_lookalike_of_flux_is_refused_with_a_readable_message(adapter):
    chroma = small_flux()
    chroma.model.diffusion_model.vector_in = None
    with pytest.raises(ValueError, match=r"similar blocks but is another model"):
        applied(chroma, adapter)


def test_an_adapter_of_the_other_base_model_is_refused(base, tmp_path):
    own = "flux.2" if joins_tokens(base) else "flux.1"
    other = {"flux.1": "flux.2", "flux.2": "flux.1"}[own]
    sample(applied(base, trained_on(own, tmp_path / "own")))
    with pytest.raises(
        ValueError, match=f"adapter.safetensors was trained for {other.upper()}, and the connected Flux"
    ):
        applied(base, trained_on(other, tmp_path / "other"))


def trained_on(name, folder):
    folder.mkdir()
    save_file(random_tensors((ARC, SIG)), folder / "adapter.safetensors", metadata={METADATA_KEY: name})
    return ComfyAdapter.open(folder / "adapter.safetensors")


def test_a_person_without_siglip_is_refused_only_where_it_matters(base, adapter):
    known = person(1)
    bare = Identity("Ada", known.arcface, None, known.crop)
    with pytest.raises(ValueError, match=r"“Ada” has no SigLIP tokens.*resemblance 0"):
        applied(base, adapter, (PlacedFace(bare, LEFT),))
    sample(applied(base, adapter, (PlacedFace(bare, LEFT),), {Branch.ARC: 1.0, Branch.SIG: 0.0}))


def test_a_person_of_another_face_model_or_tower_is_refused(base, adapter):
    known = person(1)
    foreign = Identity("Ada", known.arcface[:128], known.siglip, known.crop)
    with pytest.raises(ValueError, match=r"“Ada” carries a face embedding of shape \[128\].*512 numbers"):
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
    assert not sample(base, start=broken).isfinite().all()  # without the adapter, ComfyUI shows a black image
