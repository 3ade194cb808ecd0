"""CLIP and aesthetic scores, on networks of transformers with random weights."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.people import OwnEmbeddings, analysis, person, write_case
from withanyone_pack.tests.training.rooms import add_training

add_training()
add_comfyui()  # which also makes torchvision importable, that transformers wants
import transformers

from training.evaluate import evaluate
from training.evaluation.extras import Aesthetic, Clip
from training.evaluation.models import make_evaluation_models
from training.evaluation.reading import read_cases

SIDE, WIDTH, WORDS = 32, 16, ["<|startoftext|>", "<|endoftext|>", "a", "b", "a</w>", "b</w>", "ab</w>"]
TOWER = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    text = {**TOWER, "vocab_size": len(WORDS), "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(text_config=text, vision_config=TOWER, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(1)
    transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**TOWER)).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def head(folder, *widths):
    torch.manual_seed(2)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    tensors = {}
    for number, layer in enumerate(layers):
        # as in a chain where a dropout follows each layer; ten and more sort after nine
        tensors |= {f"layers.{number * 9}.{name}": value.detach() for name, value in layer.named_parameters()}
    save_file(tensors, folder / "head.safetensors")
    return folder / "head.safetensors", layers


def test_clip_scores_are_cosines_of_its_features(clip_folder):
    clip = Clip(clip_folder)
    image, other = (np.ascontiguousarray(person(number)[:, :, ::-1]) for number in (0, 1))
    same = clip.scores(image, image, "a b")
    assert same["clip_i"] == pytest.approx(1, abs=1e-5)
    scores = clip.scores(image, other, "a b")
    assert -1 <= scores["clip_i"] < 0.99999
    assert scores["clip_t"] == same["clip_t"] != clip.scores(image, other, "b a b")["clip_t"]
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    processor = transformers.CLIPImageProcessor.from_pretrained(clip_folder)
    with torch.inference_mode():
        pixels = processor(images=[image, other], return_tensors="pt").pixel_values
        pooled = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    a, b = pooled / pooled.norm(dim=-1, keepdim=True)
    assert scores["clip_i"] == pytest.approx(float(a @ b), abs=1e-5)


def test_long_prompts_are_cut_and_missing_things_are_none(clip_folder):
    clip = Clip(clip_folder)
    image = person(0)
    assert clip.scores(image, None, "a b " * 50)["clip_t"] is not None
    assert clip.scores(image, None, "") == {"clip_i": None, "clip_t": None}


def test_the_aesthetic_score_is_a_chain_of_linear_layers(siglip_folder, tmp_path):
    file, layers = head(tmp_path, WIDTH, 8, 4, 1)
    image = person(0)
    processor = transformers.SiglipImageProcessor.from_pretrained(siglip_folder)
    tower = transformers.SiglipVisionModel.from_pretrained(siglip_folder).eval()
    with torch.inference_mode():
        pooled = tower(**processor(images=image, return_tensors="pt")).pooler_output
        expected = torch.nn.Sequential(*layers)(pooled / pooled.norm(dim=-1, keepdim=True))
    assert Aesthetic(siglip_folder, file).score(image) == pytest.approx(float(expected), abs=1e-5)


def test_extras_are_in_lines_and_summary(clip_folder, siglip_folder, tmp_path):
    write_case(tmp_path / "cases" / "a", person(4), person(4), [person(4)], "a b")
    write_case(tmp_path / "cases" / "b", person(3), None, [person(3)], "a b")
    aesthetic = Aesthetic(siglip_folder, head(tmp_path, WIDTH, 1)[0])
    extras = [Clip(clip_folder).scores, lambda generated, truth, prompt: {"aesthetic": aesthetic.score(generated)}]
    evaluation_models = make_evaluation_models(analysis(), "MTCNN", [OwnEmbeddings()], tmp_path, extras)
    report = evaluate(read_cases(tmp_path / "cases"), evaluation_models, tmp_path, 0, "ours")
    a, b = (line["extras"] for line in report["cases"])
    assert a["clip_i"] == pytest.approx(1, abs=1e-5)
    assert b["clip_i"] is None
    found = report["summary"]["1"]["extras"]
    assert (found["clip_i"]["n"], found["clip_i"]["n_missing"]) == (1, 1)
    assert found["aesthetic"]["mean"] == pytest.approx((a["aesthetic"] + b["aesthetic"]) / 2, abs=1e-12)
    assert "| CLIP-I | CLIP-T | aesthetic |" in (tmp_path / "report.md").read_text()


def test_models_that_are_not_there_or_do_not_fit(clip_folder, siglip_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a CLIP model: config.json, preprocessor_config.json missing"):
        Clip(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"The aesthetic head .* does not exist"):
        Aesthetic(siglip_folder, tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match=r"does not fit: layers.0.weight is \[1, 5\]; expected \[n, 16\] with a bias"):
        Aesthetic(siglip_folder, head(tmp_path, 5, 1)[0])
    with pytest.raises(ValueError, match="does not end in one number"):
        Aesthetic(siglip_folder, head(tmp_path, WIDTH, 4)[0])
    torch.save({"weights": print}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="cannot be read as a file of weights alone"):
        Aesthetic(siglip_folder, tmp_path / "evil.pth")
