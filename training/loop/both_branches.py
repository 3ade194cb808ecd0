"""The adapter as users run it: the branch that is trained, and beside it the other one of the file it started from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

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
        try:
            with socket.using(joined(self.adapter.network, other), self.weights):
                yield replace(conditioning, siglip=True)
        finally:
            other.to("cpu")

    def _loaded(self, dtype: torch.dtype) -> AdapterNetwork:
        if not self._other:
            untrained = [branch for branch in self.weights if branch not in self.adapter.weights]
            self._other.append(AdapterNetwork.load(self.file, untrained, dtype=dtype).requires_grad_(False))
        return self._other[0]


def joined(first: AdapterNetwork, second: AdapterNetwork) -> AdapterNetwork:
    """A network with the branches of both, which stay theirs."""
    both = AdapterNetwork(())
    both.branches = nn.ModuleDict({**first.branches, **second.branches})
    return both


def untrained_branch(settings: Finetune, file: AdapterFile | None, tokens: Tensor | None) -> Branch | None:
    """The branch that validation generates with beside the trained one.

    None where one branch is all there is, both are trained, or nobody has SigLIP tokens for it.

    file    that the adapter starts from
    tokens  SigLIP's of a face of the cache [patches, width]
    """
    if settings.validation.resemblance == "none" or file is None or settings.train.mode == "tokens":
        return None
    if len(file.shapes) < 2 or tokens is None or tokens.shape[-1] != file.shapes[Branch.SIG].siglip_width:
        return None
    others: dict[str, Branch] = {"arc": Branch.SIG, "sig": Branch.ARC}
    return others.get(settings.adapter.branch)


def both_branches(settings: Finetune, adapter: TrainableAdapter, cache: Cache) -> BothBranches | None:
    """None where there is no `untrained_branch`."""
    file, resemblance = adapter.file, settings.validation.resemblance
    other = untrained_branch(settings, file, cache.face(0).siglip)
    if other is None or file is None or resemblance == "none":
        return None
    return BothBranches(adapter, file, branch_weights(file.shapes, resemblance))
