"""What a run goes on from, as tensors by name: whole, however many processes made it."""

from collections.abc import Mapping

from torch import Tensor

KINDS = ("parameter", "optimizer", "average")


def state_tensors(*kinds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters, the optimizer's states and averages in one, on the CPU, named `KIND/NAME`."""
    return {
        f"{kind}/{name}": value.detach().contiguous().cpu()
        for kind, tensors in zip(KINDS, kinds, strict=True)
        for name, value in tensors.items()
    }


def state_kinds(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """By kind what `state_tensors` has put together."""
    found: dict[str, dict[str, Tensor]] = {kind: {} for kind in KINDS}
    for name, value in tensors.items():
        kind, key = name.split("/", 1)
        found[kind][key] = value
    return found
