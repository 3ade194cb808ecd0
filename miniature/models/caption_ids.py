"""Captions as the two text encoders take them in."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.text import CLIP_TOKENS, PAD_ID, T5_TOKENS, word_tokenizer
from ..world.captions import WORDS


def word_ids(captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids for T5 [captions, T5_TOKENS] and for CLIP [captions, CLIP_TOKENS], padded.

    Raises ValueError for a caption that is too long.
    """
    return _ids(captions, starts=False, length=T5_TOKENS), _ids(captions, starts=True, length=CLIP_TOKENS)


def _ids(captions: Sequence[str], starts: bool, length: int) -> Tensor:
    tokenizer = word_tokenizer(WORDS, starts)
    encoded = [entry.ids for entry in tokenizer.encode_batch(list(captions))]
    longest = max(len(ids) for ids in encoded)
    if longest > length:
        raise ValueError(f"A caption has {longest} tokens; the model reads {length}. Name less.")
    return torch.tensor([ids + [PAD_ID] * (length - len(ids)) for ids in encoded])
