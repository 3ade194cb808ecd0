"""Comparing prepared caches."""

import torch
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.cache import files
from training.cache.files import read_cache


def contents(folder):
    """Everything a cache says, wherever it lies in its shards."""
    cache = read_cache(folder)
    tensors = {name: cache.tensors[name] for name in sorted(cache.tensors)}
    return cache, tensors


def same(first, second):
    one, tensors = contents(first)
    other, others = contents(second)
    assert (first / files.read_header(first).index).read_bytes() == (
        second / files.read_header(second).index
    ).read_bytes()
    assert torch.equal(one.arcface, other.arcface)
    assert torch.equal(one.negatives.embeddings, other.negatives.embeddings)
    assert list(tensors) == list(others)
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)
