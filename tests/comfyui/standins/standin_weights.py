"""Seeded random weights that keep activations near unit size."""

import torch


@torch.no_grad()
def fill(module: torch.nn.Module, seed: int) -> None:
    """Fills every parameter: matrices and kernels N(0, 1/fan_in), norm weights 1, biases 0.

    ComfyUI's layers leave their memory as it was found, so nothing may be left out.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if weight.ndim >= 2:
            weight.normal_(generator=generator).mul_(weight[0].numel() ** -0.5)
        elif name.endswith("bias"):
            weight.zero_()
        else:
            weight.fill_(1.0)
