"""What a small FLUX.1 with a small adapter in it gives, and the gradients that reach its inputs and the adapter."""

import torch
from withanyone_pack.tests.training.rooms import add_training

add_training()
from diffusers import FluxTransformer2DModel

from training.base.flux1 import image_positions
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import BranchShape
from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.injection.placed_people import PlacedPeople

DOUBLE, SINGLE, HIDDEN, ROWS, COLUMNS = 2, 3, 64, 4, 6
BLOCKS = DOUBLE + SINGLE


def small_flux(dtype=torch.float32) -> FluxTransformer2DModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = FluxTransformer2DModel(
            in_channels=64,
            num_layers=DOUBLE,
            num_single_layers=SINGLE,
            attention_head_dim=32,
            num_attention_heads=HIDDEN // 32,
            joint_attention_dim=48,
            pooled_projection_dim=24,
            guidance_embeds=True,
            axes_dims_rope=(8, 12, 12),
        )
    return model.to(dtype).eval().requires_grad_(False)


def gradients(model, checkpointed=True, passes=1, device="cpu", during=None) -> dict[str, torch.Tensor]:
    """The model's result, and the gradients of the image and of each of the adapter's parameters.

    during  is called with the socket unplugged after each pass, before the backward pass
    """
    torch.manual_seed(4)
    dtype = model.x_embedder.weight.dtype
    adapter = AdapterNetwork([BranchShape(hidden=HIDDEN, heads=2, layers=BLOCKS, arc_tokens=4, embedding=512)])
    for parameter in adapter.parameters():
        parameter.data.normal_(std=0.1)
    adapter = adapter.to(device)
    if checkpointed:
        model.enable_gradient_checkpointing()
    seen = torch.zeros(2, 2, ROWS * COLUMNS, dtype=torch.bool)
    seen[:, 0, :9], seen[:, 1, 12:20] = True, True
    crowd = PlacedPeople(torch.randn(2, 2, 512), seen).to(device)
    image = torch.randn(2, ROWS * COLUMNS, 64).to(device, dtype).requires_grad_()
    given = {
        "encoder_hidden_states": torch.randn(2, 5, 48).to(device, dtype),
        "pooled_projections": torch.randn(2, 24).to(device, dtype),
        "timestep": torch.full((2,), 0.4, device=device, dtype=dtype),
        "guidance": torch.ones(2, device=device, dtype=dtype),
        "img_ids": image_positions(ROWS, COLUMNS).to(device),
        "txt_ids": torch.zeros(5, 3, device=device),
    }
    socket = AdapterSocket(model, adapter)
    try:
        for _ in range(passes):
            with socket.placed(crowd):
                made = model(hidden_states=image, **given).sample
            if during is not None:
                during()
            made.float().square().sum().backward()
    finally:
        socket.remove()
    found = {"made": made.detach(), "image": image.grad}
    return found | {name: parameter.grad for name, parameter in adapter.named_parameters()}
