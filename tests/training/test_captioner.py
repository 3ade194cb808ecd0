"""Captions by an image-to-text model of the user's."""

import pytest
import torch
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training.prepared import prepared

from training.configuration.preparing import CaptionSettings
from training.preparing.captioner import LocalCaptioner


class Words:
    def __init__(self):
        self.asked = 0

    def caption(self, photo):
        self.asked += 1
        return f"a photo {photo.shape[1]} wide"


def captioning_models():
    models = coded.models()
    return coded.models(captioner=Words(), fingerprints={**models.fingerprints, "captions": "words 1"})


def test_photos_without_a_caption_get_one_once(tmp_path, caplog):
    data = coded.two_people(tmp_path / "data")
    (data / "identities/alice/1.txt").write_text("one's own")
    models = captioning_models()
    said = {image.name: image.caption for image in prepared(tmp_path, models).cache.images}
    assert models.captioner.asked == 13
    assert said["identities/alice/1.png"] == "one's own"
    assert said["groups/both.png"] == "a photo 256 wide"
    assert "no caption" not in caplog.text
    again = captioning_models()
    assert {image.name: image.caption for image in prepared(tmp_path, again).cache.images} == said
    assert again.captioner.asked == 0


def small_captioner(folder):
    """BLIP of random weights and fifteen words."""
    try:
        from transformers import (
            BertTokenizer,
            BlipConfig,
            BlipForConditionalGeneration,
            BlipImageProcessor,
            BlipProcessor,
        )
    except ImportError as error:
        pytest.skip(f"transformers cannot load BLIP with the torchvision that is installed: {error}")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *"abcdefgh"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(words), "bos_token_id": 5, "eos_token_id": 3, "pad_token_id": 0, "sep_token_id": 3}
    config = BlipConfig(
        text_config={**size, **text, "encoder_hidden_size": 16, "max_position_embeddings": 32},
        vision_config={**size, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def test_a_small_model_of_transformers_says_something_about_a_photo(tmp_path):
    settings = CaptionSettings(model=str(small_captioner(tmp_path / "blip")), max_tokens=6)
    captioner = LocalCaptioner(settings.model, settings, torch.float32, "cpu")
    said = captioner.caption(coded.photo((1, 1)))
    assert isinstance(said, str)
    assert said == captioner.caption(coded.photo((1, 1)))
