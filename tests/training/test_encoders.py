"""What prepare asks of the VAE, the text encoders and SigLIP, from small files of the kinds users have."""

import gc
import json
import weakref

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from withanyone_pack.tests.training.test_base import small_vae, written

from training.base import text as text_module
from training.base.siglip import SiglipTokens
from training.base.text import FluxText, load_clip, load_t5
from training.base.vae import VaeImages
from training.memory.counting import LiveBytes

WORDS = ["<pad>", "</s>", "<unk>", "<s>", "two", "people", "in", "a", "park"]


def tokenizer(folder, length, start=False):
    """A tokenizer of whole words, as transformers saves one."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    template = "<s> $A </s>" if start else "$A </s>"
    words.post_processor = TemplateProcessing(single=template, special_tokens=[("<s>", 3), ("</s>", 1)])
    named = {"pad_token": "</s>" if start else "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=length, **named).save_pretrained(folder)
    return folder


def t5():
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(1)
    sizes = {"d_model": 64, "d_kv": 32, "num_heads": 2, "d_ff": 96, "num_layers": 2, "dropout_rate": 0.0}
    return T5EncoderModel(T5Config(vocab_size=len(WORDS), feed_forward_proj="gated-gelu", **sizes)).eval()


def clip():
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(2)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
    marks = {"eos_token_id": 1, "bos_token_id": 3, "pad_token_id": 1}
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(WORDS), max_position_embeddings=12, **sizes, **marks)).eval()


def files(folder, t5_prefix="", clip_prefix="text_model."):
    t5_state = {t5_prefix + key: value for key, value in t5().state_dict().items() if "embed_tokens" not in key}
    clip_state = {clip_prefix + key.removeprefix("text_model."): value for key, value in clip().state_dict().items()}
    return written(folder / "t5xxl.safetensors", t5_state), written(folder / "clip_l.safetensors", clip_state)


def encoded(reader, text):
    tensors = reader.encode(text)
    assert tuple(tensors) == reader.names
    return tensors.values()


@pytest.fixture
def reader(tmp_path):
    t5_words, clip_words = tokenizer(tmp_path / "t5", 16), tokenizer(tmp_path / "clip", 77, start=True)
    return FluxText(*files(tmp_path), t5_words, clip_words, torch.float32)


def test_a_text_is_read_as_flux_reads_it(reader):
    states, pooled = encoded(reader, "two people in a park")
    ids = torch.tensor([[4, 5, 6, 7, 8, 1, *[0] * 10]])
    marked = torch.tensor([[3, 4, 5, 6, 7, 8, 1, *[1] * 5]])
    with torch.no_grad():
        assert torch.allclose(states, t5()(input_ids=ids).last_hidden_state[0], atol=1e-5)
        assert torch.allclose(pooled, clip()(input_ids=marked).pooler_output[0], atol=1e-5)
    assert states.shape == (16, 64)
    assert reader.encode("two people " * 30)["t5"].shape == (16, 64)


def test_a_diffusers_folder_holds_everything(tmp_path, reader):
    folder = tmp_path / "flux"
    t5().save_pretrained(folder / "text_encoder_2")
    clip().save_pretrained(folder / "text_encoder")
    tokenizer(folder / "tokenizer_2", 16)
    tokenizer(folder / "tokenizer", 77, start=True)
    whole = FluxText(folder, folder, dtype=torch.float32)
    for found, expected in zip(encoded(whole, "a park"), encoded(reader, "a park"), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("t5_prefix", "clip_prefix"),
    [("", ""), ("text_encoders.t5xxl.transformer.", "text_encoders.clip_l.transformer.text_model.")],
)
def test_names_as_several_programs_write_them(tmp_path, t5_prefix, clip_prefix):
    t5_file, clip_file = files(tmp_path, t5_prefix, clip_prefix)
    for loaded, model in ((load_t5(t5_file, torch.float32), t5()), (load_clip(clip_file, torch.float32), clip())):
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_t5_in_float16_does_not_overflow(tmp_path):
    state = {key: value for key, value in t5().state_dict().items() if "embed_tokens" not in key}
    factors = {"wo.weight": 300, "wi_0.weight": 20, "wi_1.weight": 20}
    large = {key: value * factors.get(key.split("DenseReluDense.")[-1], 1) for key, value in state.items()}
    path, ids = written(tmp_path / "t5.safetensors", large), torch.tensor([[4, 5, 6, 1]])
    both = torch.float16, torch.float32
    with torch.no_grad():
        low, full = (load_t5(path, dtype)(input_ids=ids).last_hidden_state for dtype in both)
    assert low.isfinite().all()
    assert (low - full).abs().max() < 0.05 * full.abs().max()


def test_scaled_fp8_text_encoders_are_descaled(tmp_path):
    state = {key: value for key, value in t5().state_dict().items() if "embed_tokens" not in key}
    matrices = [key for key in state if key.endswith(("q.weight", "wo.weight"))]
    for key in matrices:
        scale = state[key].abs().max() / 400
        state[key] = (state[key] / scale).to(torch.float8_e4m3fn)
        state[key.replace("weight", "scale_weight")] = scale.reshape(())
    state["scaled_fp8"] = torch.zeros(0, dtype=torch.float8_e4m3fn)
    loaded = load_t5(written(tmp_path / "t5.safetensors", state), torch.float32).state_dict()
    for key in matrices:
        expected = t5().state_dict()[key]
        assert (loaded[key] - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_scaled_t5_is_never_wider_than_it_is_kept(tmp_path):
    """Of FLUX.1's, 19 GB of float32 would lie beside the 9 that are kept."""
    state = {key: value for key, value in t5().state_dict().items() if "embed_tokens" not in key}
    for key in [key for key, value in state.items() if value.ndim == 2 and "relative" not in key]:
        state[key.replace("weight", "scale_weight")] = torch.tensor(0.5)
        state[key] = (2 * state[key]).to(torch.float8_e4m3fn)
    path = written(tmp_path / "t5.safetensors", state)
    with LiveBytes() as counted:
        model = load_t5(path, torch.bfloat16)
    kept = sum({value.data_ptr(): value.nbytes for value in model.state_dict().values()}.values())
    largest = max(value.numel() for value in state.values())
    # The model without data is counted in float32, though it takes nothing. Beside it: what is kept, one matrix
    # de-scaled in float32, its wide copy, the one before it, and both as they lie in the file.
    assert counted.peak - 2 * kept <= kept + 14 * largest < 2 * kept
    assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16}


def test_models_come_to_the_device_when_they_are_needed_and_the_readers_leave(tmp_path):
    """This device is not there, so whoever goes to it fails."""
    words, nowhere = (tokenizer(tmp_path / "t5", 16), tokenizer(tmp_path / "clip", 77, start=True)), "cuda:63"
    small_vae().save_pretrained(tmp_path / "vae")
    text = FluxText(*files(tmp_path), *words, torch.float32, nowhere)
    vae = VaeImages(tmp_path, torch.float32, nowhere)
    for use in (lambda: text.encode("a park"), lambda: vae.encode(np.zeros((32, 32, 3), np.uint8))):
        with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|cuda|device"):
            use()
    text = FluxText(*files(tmp_path), *words, torch.float32)
    text.encode("a park")
    models = [weakref.ref(model) for model in text._models]
    text.release()
    gc.collect()
    assert [model() for model in models] == [None, None]
    with pytest.raises(RuntimeError, match="have been released"):
        text.encode("a park")


def test_fingerprints_know_weights_and_tokenizers(tmp_path, reader):
    again = FluxText(*files(tmp_path), tmp_path / "t5", tmp_path / "clip", torch.float32)
    assert again.fingerprint == reader.fingerprint
    path = tmp_path / "t5" / "tokenizer.json"
    changed = json.loads(path.read_text())
    changed["model"]["vocab"]["meadow"] = changed["model"]["vocab"].pop("park")
    path.write_text(json.dumps(changed))
    other = FluxText(*files(tmp_path), tmp_path / "t5", tmp_path / "clip", torch.float32)
    assert other.fingerprint != reader.fingerprint


def test_what_is_missing_or_of_another_kind_is_named(tmp_path, monkeypatch):
    t5_file, clip_file = files(tmp_path)
    words = tokenizer(tmp_path / "t5", 16)
    with pytest.raises(ValueError, match=r"clip_l\.safetensors is no T5 encoder"):
        FluxText(clip_file, clip_file, words, words)
    with pytest.raises(ValueError, match=r"t5xxl\.safetensors is no CLIP text model"):
        FluxText(t5_file, t5_file, words, words)
    with pytest.raises(FileNotFoundError, match=r"no folder .*gone with a tokenizer; see t5_tokenizer"):
        FluxText(t5_file, clip_file, tmp_path / "gone", words)
    monkeypatch.setattr(text_module, "HUB_REPOSITORY", "nobody/nothing")
    with pytest.raises(FileNotFoundError, match=r"No tokenizer was named, .* Set clip_tokenizer to a folder"):
        FluxText(t5_file, clip_file, words, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no tokenizer"):
        FluxText(t5_file, clip_file, words, tmp_path / "empty")


def test_images_become_a_posterior(tmp_path):
    small_vae().save_pretrained(tmp_path / "vae")
    vae = VaeImages(tmp_path, torch.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    mean, logvar = vae.encode(pixels)
    image = torch.from_numpy(pixels).movedim(-1, 0)[None] / 127.5 - 1
    with torch.no_grad():
        expected = small_vae().encode(image).latent_dist
    assert torch.allclose(mean, expected.mean[0], atol=1e-5)
    assert torch.allclose(logvar, expected.logvar[0], atol=1e-5)
    assert (vae.scale.scale, vae.scale.shift) == (0.5, 0.25)
    assert len(vae.fingerprint) == 64


@pytest.mark.parametrize("whole", [True, False])
def test_siglip_gives_its_states_after_the_last_norm(tmp_path, whole):
    from transformers import SiglipVisionConfig, SiglipVisionModel

    from withanyone_core.faces.siglip import pixel_values

    torch.manual_seed(3)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
    model = SiglipVisionModel(SiglipVisionConfig(image_size=64, patch_size=16, **sizes)).eval()
    state = {"vision_model." + key.removeprefix("vision_model."): value for key, value in model.state_dict().items()}
    state |= {"logit_scale": torch.ones(1), "text_model.head.weight": torch.ones(2)} if whole else {}
    crop = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    tokens = SiglipTokens(written(tmp_path / "siglip.safetensors", state)).tokens(crop)
    with torch.no_grad():
        expected = model(pixel_values=pixel_values(crop, 64)).last_hidden_state[0]
    assert tokens.shape == (16, 64)
    assert torch.allclose(tokens, expected, atol=1e-5)


def test_a_file_that_is_no_siglip_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors is not a SigLIP vision tower"):
        SiglipTokens(tmp_path / "x.safetensors")
