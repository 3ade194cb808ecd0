"""The shipped image models are the same in the classes of diffusers and transformers and in ComfyUI's."""

import pytest
import torch
from safetensors.torch import load_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.sample
from transformers import PreTrainedTokenizerFast
from withanyone_pack.miniature import weights_folder as files
from withanyone_pack.miniature.models import autoencoder, backbone, text
from withanyone_pack.miniature.world.scene import CELLS, SIDE_PX
from withanyone_pack.nodes import miniature_models
from withanyone_pack.training.base.flux1_keys import KEYS

CAPTION = "two people, park, sunset: left happy right, right calm ahead"
CHANNELS, SIDE = 8, 2 * CELLS


def weights(name):
    return {key: value.float() for key, value in load_file(files.WEIGHTS / name).items()}


@pytest.fixture(scope="module")
def readers():
    return miniature_models.text_encoders()


def word_ids(folder, length):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(files.WEIGHTS / folder)
    return torch.tensor([tokenizer(CAPTION, padding="max_length", max_length=length)["input_ids"]])


@torch.no_grad()
def test_both_read_a_caption_alike(readers):
    words = len(PreTrainedTokenizerFast.from_pretrained(files.WEIGHTS / files.T5_WORDS))
    t5, clip = text.t5_encoder(words).eval(), text.clip_encoder(words).eval()
    embedding = {"encoder.embed_tokens.weight": weights(files.T5)["shared.weight"]}
    t5.load_state_dict(weights(files.T5) | embedding)
    own = clip.state_dict()
    clip.load_state_dict(
        {key if key in own else key.removeprefix("text_model."): value for key, value in weights(files.CLIP).items()}
    )

    tokens, pooled = readers.encode_from_tokens(readers.tokenize(CAPTION), return_pooled=True)

    expected = t5(input_ids=word_ids(files.T5_WORDS, text.T5_TOKENS)).last_hidden_state
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
    expected = clip(input_ids=word_ids(files.CLIP_WORDS, text.CLIP_TOKENS)).pooler_output
    torch.testing.assert_close(pooled, expected, atol=1e-4, rtol=1e-4)


def test_a_word_the_world_lacks_does_not_stop_the_reading(readers):
    known = readers.encode_from_tokens(readers.tokenize("one person: happy"), return_pooled=True)
    unknown = readers.encode_from_tokens(readers.tokenize("one astronaut: happy"), return_pooled=True)
    assert known[0].shape == unknown[0].shape
    assert not torch.equal(known[0], unknown[0])


@torch.no_grad()
def test_both_encode_and_decode_an_image_alike():
    theirs, ours = autoencoder.diffusers_autoencoder().eval(), miniature_models.vae()
    theirs.load_state_dict(weights(files.VAE_FILE))
    image = torch.rand(1, SIDE_PX, SIDE_PX, 3, generator=torch.Generator().manual_seed(3))

    latents = ours.encode(image)

    expected = theirs.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mean
    assert expected.shape == (1, CHANNELS, SIDE, SIDE)
    torch.testing.assert_close(latents, expected, atol=2e-4, rtol=1e-4)
    decoded = theirs.decode(expected).sample.movedim(1, -1).add(1).div(2).clamp(0, 1)
    torch.testing.assert_close(ours.decode(latents), decoded, atol=2e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def flux():
    return miniature_models.image_model()


@torch.no_grad()
def test_both_give_the_same_velocity(flux):
    theirs = backbone.diffusers_flux().eval()
    theirs.load_state_dict(KEYS.to_diffusers(weights(files.FLUX)))
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(2, CHANNELS, SIDE, SIDE, generator=generator)
    context = torch.randn(2, text.T5_TOKENS, backbone.TEXT_WIDTH, generator=generator)
    pooled = torch.randn(2, backbone.POOLED_WIDTH, generator=generator)
    sigma, guidance = torch.tensor([0.3, 0.9]), torch.tensor([1.0, 4.0])

    velocity = flux.model.diffusion_model(latents, sigma, context, pooled, guidance)

    cells = latents.view(2, CHANNELS, CELLS, 2, CELLS, 2).permute(0, 2, 4, 1, 3, 5).reshape(2, CELLS**2, 4 * CHANNELS)
    row, column = torch.meshgrid(torch.arange(float(CELLS)), torch.arange(float(CELLS)), indexing="ij")
    places = torch.stack((torch.zeros(CELLS, CELLS), row, column), dim=-1).reshape(-1, 3)
    expected = theirs(
        hidden_states=cells,
        encoder_hidden_states=context,
        pooled_projections=pooled,
        timestep=sigma,
        img_ids=places,
        txt_ids=torch.zeros(text.T5_TOKENS, 3),
        guidance=guidance,
    ).sample
    expected = expected.view(2, CELLS, CELLS, CHANNELS, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(latents.shape)
    torch.testing.assert_close(velocity, expected, atol=2e-5, rtol=1e-4)


def test_a_sampler_sees_latents_as_the_vae_gives_them(flux):
    seen = flux.get_model_object("latent_format")
    latents = torch.randn(1, CHANNELS, SIDE, SIDE)
    assert seen.latent_channels == CHANNELS
    assert torch.equal(seen.process_in(latents), latents)
    assert torch.equal(seen.process_out(latents), latents)
    empty = comfy.sample.fix_empty_latent_channels(flux, torch.zeros(1, 16, SIDE, SIDE))
    assert empty.shape == latents.shape
