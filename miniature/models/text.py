"""The two text encoders: a T5 encoder (one state a word) and a CLIP text model (one state a caption).

Both read words of the world's own vocabulary, one token each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .backbone import POOLED_WIDTH, TEXT_WIDTH

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import CLIPTextModel, T5EncoderModel

PAD, END, UNKNOWN, START = "<pad>", "</s>", "<unk>", "<s>"
SPECIAL = (PAD, END, UNKNOWN, START)
SPECIAL_NAMES = {"pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN, "bos_token": START}
PAD_ID, END_ID, START_ID = SPECIAL.index(PAD), SPECIAL.index(END), SPECIAL.index(START)

T5_TOKENS = 24  # the base model always reads this many, as FLUX.1 reads 512
CLIP_TOKENS = 24
LAYERS = 2
HEAD_WIDTH = 64
MLP_WIDTH = 256


def t5_configuration(words: int) -> dict[str, object]:
    """Of transformers' T5EncoderModel and ComfyUI's T5, for a vocabulary of that many entries."""
    return {
        "vocab_size": words,
        "d_model": TEXT_WIDTH,
        "d_kv": HEAD_WIDTH,
        "num_heads": TEXT_WIDTH // HEAD_WIDTH,
        "d_ff": MLP_WIDTH,
        "num_layers": LAYERS,
        "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu_pytorch_tanh",
        "is_gated_act": True,
        "model_type": "t5",
        "dropout_rate": 0.0,
        "pad_token_id": PAD_ID,
        "eos_token_id": END_ID,
    }


def clip_configuration(words: int) -> dict[str, object]:
    """Of transformers' and ComfyUI's CLIPTextModel, for a vocabulary of that many entries."""
    return {
        "vocab_size": words,
        "hidden_size": POOLED_WIDTH,
        "intermediate_size": MLP_WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": POOLED_WIDTH // HEAD_WIDTH,
        "max_position_embeddings": CLIP_TOKENS,
        "hidden_act": "quick_gelu",
        "projection_dim": POOLED_WIDTH,
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
        "pad_token_id": PAD_ID,
    }


def t5_encoder(words: int) -> T5EncoderModel:
    """transformers' own class at this size, with fresh weights."""
    from transformers import T5Config, T5EncoderModel

    named_by_class = ("model_type", "dense_act_fn", "is_gated_act")
    configuration = {key: value for key, value in t5_configuration(words).items() if key not in named_by_class}
    return T5EncoderModel(T5Config(**configuration))


def clip_encoder(words: int) -> CLIPTextModel:
    """transformers' own class at this size, with fresh weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**clip_configuration(words)))


def word_tokenizer(words: Sequence[str], starts: bool) -> Tokenizer:
    """One token a word, lower case, punctuation left out, an end token after the last and for CLIP a start token."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    entries = {word: index for index, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(entries, unk_token=UNKNOWN))
    # Commas are for people: as tokens they would only cost time.
    plain = [normalizers.Lowercase(), normalizers.Replace(Regex("[^a-z]"), " ")]
    tokenizer.normalizer = normalizers.Sequence(plain)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}" if starts else f"$A {END}", special_tokens=[(END, END_ID), (START, START_ID)]
    )
    return tokenizer
