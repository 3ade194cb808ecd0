"""The miniature's loaders: the same sockets as the real ones, and words where a file is missing."""

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.model_base
import comfy.nested_tensor  # of ComfyUI's own sampler, which does not import it itself
from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect, RandomNoise, SamplerCustomAdvanced
from comfy_extras.nodes_sd3 import EmptySD3LatentImage
from withanyone_pack.miniature import weights_folder
from withanyone_pack.miniature.models import autoencoder, backbone, text
from withanyone_pack.miniature.world import SIDE_PX, SPOTS
from withanyone_pack.nodes import loading, miniature, miniature_models
from withanyone_pack.nodes.applying import ApplyWithAnyone
from withanyone_pack.tests.adapter.random_adapter import random_adapter, random_tensors
from withanyone_pack.tests.comfyui.sampling import person
from withanyone_pack.withanyone_core.adapter.places import places_header
from withanyone_pack.withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_pack.withanyone_core.regions.layout import Box, Layout, parse_boxes, place_in_box
from withanyone_pack.withanyone_core.regions.presets import preset_layout

LAYERS = backbone.DOUBLE_BLOCKS + backbone.SINGLE_BLOCKS
REAL = {
    miniature.MiniatureAdapter: loading.LoadAdapter,
    miniature.MiniatureFaceAnalysis: loading.LoadFaceAnalysis,
    miniature.MiniatureSigLIP: loading.LoadSigLIP,
}
READERS = [node for node in miniature.NODES if node is not miniature.MiniaturePhotos]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in the place of the shipped weights."""
    monkeypatch.setattr(weights_folder, "WEIGHTS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("node", REAL, ids=lambda node: node.__name__)
def test_what_comes_out_is_what_the_real_loader_gives(node):
    given, real = (loader.define_schema().outputs for loader in (node, REAL[node]))
    assert [(output.get_io_type(), output.display_name) for output in given] == [
        (output.get_io_type(), output.display_name) for output in real
    ]
    assert node.define_schema().inputs == []


@pytest.mark.parametrize("node", READERS, ids=lambda node: node.__name__)
def test_a_pack_without_the_files_says_so(node, folder):
    with pytest.raises(FileNotFoundError, match=r"is missing\. It is part of the pack"):
        node.execute()


def test_the_adapter_is_opened_by_its_shapes(folder):
    shapes = [BranchShape(backbone.WIDTH, 2, LAYERS, 4, 512, width) for width in (None, 192)]
    random_adapter(folder / weights_folder.ADAPTER, shapes=shapes, dtype=torch.float16)
    adapter = miniature.MiniatureAdapter.execute().result[0]
    assert adapter.file.shapes == dict(zip((Branch.ARC, Branch.SIG), shapes, strict=True))
    assert not adapter.fp8


def test_the_shipped_adapter_fits_the_shipped_model():
    file = miniature.MiniatureAdapter.execute().result[0].file
    assert set(file.shapes) == {Branch.ARC, Branch.SIG}
    assert {(shape.hidden, shape.layers) for shape in file.shapes.values()} == {(backbone.WIDTH, LAYERS)}


def fresh(shapes, seed):
    """Small random weights in those shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.05 * torch.randn(value.shape, generator=generator) for name, value in shapes.items()}


@pytest.fixture
def base_model(folder):
    """What Miniature FLUX gives of a file of random weights."""
    shapes = comfy.model_base.Flux(miniature_models.flux_config()).diffusion_model.state_dict()
    save_file(fresh(shapes, 1), folder / weights_folder.FLUX)
    return miniature.MiniatureFlux.execute().result[0]


def test_an_empty_latent_gets_the_miniatures_channels_in_core_nodes(base_model):
    generator = torch.Generator().manual_seed(2)
    pooled = {"pooled_output": torch.randn(1, backbone.POOLED_WIDTH, generator=generator), "guidance": 4.0}
    prompt = [[torch.randn(1, text.T5_TOKENS, backbone.TEXT_WIDTH, generator=generator), pooled]]
    empty = EmptySD3LatentImage.execute(width=SIDE_PX, height=SIDE_PX, batch_size=2).result[0]

    guider = BasicGuider.execute(base_model, prompt).result[0]
    euler = KSamplerSelect.execute("euler").result[0]
    noise = RandomNoise.execute(3).result[0]
    sampled = SamplerCustomAdvanced.execute(noise, guider, euler, torch.tensor([1.0, 0.5, 0.0]), empty).result[0]

    cells = SIDE_PX // autoencoder.PIXELS_A_CELL
    assert empty["samples"].shape[1] == 16, "core's node fits them no longer; another test is needed"
    assert sampled["samples"].shape == (2, autoencoder.LATENT_CHANNELS, cells, cells)
    assert sampled["samples"].isfinite().all()


def test_the_sampler_sees_latents_scaled_as_the_vae_says(base_model):
    latents = torch.randn(1, autoencoder.LATENT_CHANNELS, 4, 4, generator=torch.Generator().manual_seed(4))
    seen = base_model.model.process_latent_in(latents)
    assert torch.equal(seen, (latents - autoencoder.SHIFT) * autoencoder.SCALE)
    assert torch.equal(base_model.model.process_latent_out(seen), latents)


@torch.no_grad()
def test_the_vae_is_diffusers_own_at_eight_channels(folder):
    theirs = autoencoder.diffusers_autoencoder().eval()
    path = folder / weights_folder.VAE_FILE
    path.parent.mkdir()
    save_file(theirs.state_dict(), path)
    vae = miniature.MiniatureVAE.execute().result[0]
    image = torch.rand(1, SIDE_PX, SIDE_PX, 3, generator=torch.Generator().manual_seed(5))

    latents = vae.encode(image)

    expected = theirs.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mean
    torch.testing.assert_close(latents, expected, atol=2e-4, rtol=1e-4)
    decoded = theirs.decode(expected).sample.movedim(1, -1).add(1).div(2).clamp(0, 1)
    torch.testing.assert_close(vae.decode(latents), decoded, atol=2e-4, rtol=1e-4)
    with pytest.raises(RuntimeError, match="8 channels"):
        vae.decode(torch.zeros(1, 16, 4, 4))


@pytest.mark.parametrize(("boxes", "named"), [("", False), ("16,0,96,80; 96,32,176,112", True)])
def test_apply_names_who_stands_where_the_adapter_was_not_trained(base_model, folder, caplog, boxes, named):
    shape = BranchShape(backbone.WIDTH, 3, LAYERS, 4, 512)
    places = places_header([Box.from_px(*spot.box_px, SIDE_PX, SIDE_PX) for spot in SPOTS], SIDE_PX, SIDE_PX)
    save_file(random_tensors(shapes=(shape,)), folder / weights_folder.ADAPTER, metadata=places)
    adapter = miniature.MiniatureAdapter.execute().result[0]
    written = parse_boxes(boxes, SIDE_PX, SIDE_PX)
    layout = Layout(written, SIDE_PX, SIDE_PX) if written else preset_layout(2, SIDE_PX, SIDE_PX)
    faces = place_in_box(person(2, "Bob"), layout, earlier=place_in_box(person(1, "Ann"), layout))

    ApplyWithAnyone.execute(base_model, adapter, faces, 0.5, 0.0, 1.0, "cond", -1.0, -1.0)

    found = [record.getMessage() for record in caplog.records if "was trained on" in record.getMessage()]
    assert len(found) == named
    assert all("“Ann” stands in 16, 0, 96, 80" in text and "Bob" not in text for text in found)
