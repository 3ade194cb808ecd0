"""Whether numbers still are numbers: what a diverged run leaves is not kept as if it were good."""

from collections.abc import Mapping

import torch
from torch import Tensor


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, tensor in tensors.items() if not is_finite(tensor)]


def is_finite(tensor: Tensor) -> bool:
    """Smallest and largest value tell it: NaN spreads to both, and nothing of the tensor's size is made."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    return bool(torch.stack(torch.aminmax(tensor.detach())).isfinite().all())


def counted(names: list[str], whole: int) -> str:
    """`34 of 51 tensors (a, b, c, ...)`."""
    return f"{len(names)} of {whole} tensors ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
