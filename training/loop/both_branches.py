"""The adapter as users run it: the branch that is trained, and beside it the other one of the file it started from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from withanyone_core.adapter.checkpoint import AdapterFile
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch
from withanyone_core.adapter.strength import branch_weights
from withanyone_core.injection.diffusers import AdapterSocket

from ..cache.cache import Cache
from ..configuration.finetune import Finetune
from .batch import ConditioningSpec
from .trainable import TrainableAdapter


@dataclass(frozen=True, eq=False)
class BothBranches:
    """A trained branch and the other one, which is read from its file when it is first needed.

    file     that holds both
    weights  output weight of each branch
    """

    adapter: TrainableAdapter
    file: AdapterFile
    weights: Mapping[Branch, float]
    _other: list[AdapterNetwork] = field(default_factory=list, init=False)

    @contextmanager
    def plugged(self, socket: AdapterSocket, conditioning: ConditioningSpec) -> Iterator[ConditioningSpec]:
        """Inside, both branches work in the socket; how people are described to them. The other branch is on the
        device only inside.
        """
        device = next(self.adapter.network.parameters()).device
        other = self._loaded(socket.dtype).to(device)
        both = AdapterNetwork(())
        both.branches = nn.ModuleDict({**self.adapter.network.branches, **other.branches})
        try:
            with socket.using(both, self.weights):
                yield replace(conditioning, siglip=True)
        finally:
            other.to("cpu")

    def _loaded(self, dtype: torch.dtype) -> AdapterNetwork:
        if not self._other:
            untrained = [branch for branch in self.weights if branch not in self.adapter.weights]
            self._other.append(AdapterNetwork.load(self.file, untrained, dtype=dtype).requires_grad_(False))
        return self._other[0]


def both_branches(settings: Finetune, adapter: TrainableAdapter, cache: Cache) -> BothBranches | None:
    """None where one branch is all there is, both are trained, or the cache has no SigLIP tokens for the other."""
    file, resemblance = adapter.file, settings.validation.resemblance
    if resemblance == "none" or file is None or adapter.person is not None or len(adapter.weights) > 1:
        return None
    tokens = cache.face(0).siglip
    if len(file.shapes) < 2 or tokens is None or tokens.shape[-1] != file.shapes[Branch.SIG].siglip_width:
        return None
    return BothBranches(adapter, file, branch_weights(file.shapes, resemblance))
