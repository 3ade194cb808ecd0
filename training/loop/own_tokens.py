"""One person's own tokens as what a run trains, started from what the adapter's projectors make of that person."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from withanyone_core.adapter.checkpoint import AdapterFile, fingerprint
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch
from withanyone_core.identity import Identity, LearnedTokens

from .person import Person

PREFIX = "learned."


@torch.no_grad()
def started_tokens(network: AdapterNetwork, identity: Identity) -> dict[str, nn.Parameter]:
    """Float32 [1, tokens, hidden] for each branch of the network, by `learned.BRANCH`.

    Brought to a size of about 1 by a power of two, so that one learning rate suits every adapter. The attention's norm
    takes that size out again.

    ValueError where the sig branch is trained and the identity has no SigLIP tokens.
    """
    found = {}
    for branch in network.shapes:
        if branch is Branch.SIG and identity.siglip is None:
            raise ValueError(
                "The sig branch's tokens are to be learned and the cache holds no SigLIP tokens. Prepare it with a "
                "SigLIP tower, or set adapter.branch=arc."
            )
        encoder = network[branch].encoder
        like = next(encoder.parameters())
        inputs = [identity.arcface, identity.siglip if branch is Branch.SIG else None]
        tokens = encoder.tokens(*(None if each is None else each[None].to(like.device, like.dtype) for each in inputs))
        found[PREFIX + branch.value] = nn.Parameter(_of_size_one(tokens.float()))
    return found


def by_branch(values: Mapping[str, Tensor]) -> dict[Branch, Tensor]:
    """Values of `started_tokens` by the branch they belong to."""
    return {Branch(name.removeprefix(PREFIX)): value for name, value in values.items() if name.startswith(PREFIX)}


def with_tokens(person: Person, values: Mapping[str, Tensor], file: AdapterFile, step: int) -> Identity:
    """The person with trained values as their tokens, in half precision, for the adapter of a file."""
    tokens = {branch.value: value.detach()[0].cpu().half() for branch, value in by_branch(values).items()}
    return replace(
        person.identity,
        made_from=f"{person.identity.made_from}; own tokens of {step} steps for {file.path.name}",
        learned=LearnedTokens(fingerprint(file), adapter_name=file.path.name, recognizer=person.recognizer, **tokens),
    )


def _of_size_one(tokens: Tensor) -> Tensor:
    size = tokens.square().mean().sqrt().item()
    return tokens * 2.0 ** -round(math.log2(size)) if size > 0 else tokens
