"""Muon (K. Jordan, 2024): momentum whose singular values are made alike, for the matrices inside a transformer.

torch has it too, but computes in bfloat16, which processors without that type emulate at a fortieth of the speed.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
# Of the quintic a x + b x^3 + c x^5, chosen for a steep slope at 0; five rounds bring singular values to 0.7 .. 1.2.
QUINTIC, ROUNDS = (3.4445, -4.7750, 2.0315), 5
RATE_OF_ADAMW = 0.2  # with the root of the longer side: updates as large as AdamW's (arXiv 2502.16982, section 2.2)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized, with decoupled weight decay; parameters are matrices [out, in]."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """One update; matrices of one shape are orthogonalized together."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                updates = orthogonalized(torch.stack([self._momentum(parameter) for parameter in parameters]))
                scale = group["lr"] * RATE_OF_ADAMW * max(shape) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(scale * update)

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM)


def orthogonalized(matrices_BNM: Tensor) -> Tensor:
    """The matrices with all singular values near 1, by Newton and Schulz's iteration."""
    a, b, c = QUINTIC
    tall = matrices_BNM.shape[-2] > matrices_BNM.shape[-1]
    x = matrices_BNM.mT if tall else matrices_BNM
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
