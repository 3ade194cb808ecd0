"""The adapter inside diffusers' FLUX.1. That both sockets give the released velocities is for the golden replays."""

import pytest
import torch
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG, random_adapter
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from diffusers import FluxTransformer2DModel
from withanyone_pack.tests.comfyui.small_flux import SMALL, small_flux

from training.base.flux_keys import to_diffusers
from training.losses.flow import image_positions
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.network import AdapterNetwork, file_tensors
from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import AdapterSocket, PlacedPeople, members
from withanyone_core.regions.layout import Box

ROWS, COLUMNS = 8, 10
LEFT, RIGHT, MIDDLE = Box(0.0, 0.1, 0.4, 0.8), Box(0.5, 0.2, 0.9, 0.9), Box(0.3, 0.3, 0.7, 0.7)


def transformer(dtype=torch.float32):
    model = FluxTransformer2DModel(
        in_channels=64,
        num_layers=SMALL["depth"],
        num_single_layers=SMALL["depth_single_blocks"],
        attention_head_dim=SMALL["hidden_size"] // SMALL["num_heads"],
        num_attention_heads=SMALL["num_heads"],
        joint_attention_dim=SMALL["context_in_dim"],
        pooled_projection_dim=SMALL["vec_in_dim"],
        guidance_embeds=True,
        axes_dims_rope=tuple(SMALL["axes_dim"]),
    )
    model.load_state_dict(to_diffusers(small_flux().model.diffusion_model.state_dict()))
    return model.to(dtype).eval().requires_grad_(False)


@pytest.fixture
def adapter(tmp_path):
    return AdapterNetwork.load(inspect_adapter(random_adapter(tmp_path / "adapter.safetensors")))


def people(*samples, seed=5):
    """A batch with one layout a sample, each place (None: nowhere) with a person of its own."""
    generator = torch.Generator().manual_seed(seed)
    seen = members(samples, COLUMNS * 16, ROWS * 16)
    size = seen.shape[:2]
    arcface = torch.randn(*size, 512, generator=generator)
    return PlacedPeople(arcface, seen, torch.randn(*size, 9, 32, generator=generator))


def inputs(batch, seed=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(batch, ROWS * COLUMNS, 64, generator=generator).to(dtype),
        "encoder_hidden_states": torch.randn(batch, 6, 96, generator=generator).to(dtype),
        "pooled_projections": torch.randn(batch, 48, generator=generator).to(dtype),
        "timestep": torch.full((batch,), 0.4, dtype=dtype),
        "guidance": torch.ones(batch, dtype=dtype),
        "img_ids": image_positions(ROWS, COLUMNS),
        "txt_ids": torch.zeros(6, 3),
    }


def row(batch_inputs, index):
    return {
        key: value[index : index + 1] if value.ndim and len(value) == 3 else value
        for key, value in batch_inputs.items()
    }


def test_every_sample_of_a_batch_has_its_own_people(adapter):
    """A batch of one, four and two people gives what each gives alone."""
    model = transformer()
    socket = AdapterSocket(model, adapter)
    layouts = [[LEFT], [LEFT, RIGHT, MIDDLE, Box(0.8, 0.0, 1.0, 0.3)], [RIGHT, MIDDLE]]
    together, arguments = people(*layouts), inputs(3)
    with torch.no_grad(), socket.placed(together):
        batched = model(**arguments).sample
    for index, layout in enumerate(layouts):
        count = len(layout)
        alone = PlacedPeople(
            together.arcface_BPE[index : index + 1, :count],
            together.members_BPN[index : index + 1, :count],
            together.siglip_BPTW[index : index + 1, :count],
        )
        with torch.no_grad(), socket.placed(alone):
            single = model(**row(arguments, index)).sample
        assert (batched[index] - single[0]).abs().max() < 2e-5 * single.abs().max()


def test_only_tokens_inside_a_place_are_changed_by_a_block(adapter):
    model, crowd = transformer(), people([LEFT, RIGHT])
    socket = AdapterSocket(model, adapter)
    scene = socket._scene(crowd)
    stream = torch.randn(1, ROWS * COLUMNS, 64, generator=torch.Generator().manual_seed(1))
    changed = (socket._updated(scene, 0, stream) != stream).any(-1)[0]
    assert torch.equal(changed, crowd.members_BPN[0].any(0))


def test_a_person_changes_only_their_own_tokens(adapter):
    model, crowd = transformer(), people([LEFT, RIGHT, MIDDLE])
    other = people([LEFT, RIGHT, MIDDLE], seed=6)
    swapped = PlacedPeople(crowd.arcface_BPE.clone(), crowd.members_BPN, crowd.siglip_BPTW.clone())
    swapped.arcface_BPE[0, 1], swapped.siglip_BPTW[0, 1] = other.arcface_BPE[0, 1], other.siglip_BPTW[0, 1]
    socket = AdapterSocket(model, adapter)
    stream = torch.randn(1, ROWS * COLUMNS, 64, generator=torch.Generator().manual_seed(1))
    first, second = (socket._updated(socket._scene(each), 0, stream) for each in (crowd, swapped))
    assert torch.equal((first != second).any(-1)[0], crowd.members_BPN[0, 1])


@pytest.mark.parametrize("branches", [(Branch.ARC,), (Branch.SIG,), (Branch.ARC, Branch.SIG)])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_reach_every_trained_tensor_and_no_other(tmp_path, branches, checkpointed):
    file = inspect_adapter(random_adapter(tmp_path / "adapter.safetensors"))
    network, model = AdapterNetwork.load(file, branches), transformer()
    if checkpointed:
        model.enable_gradient_checkpointing()
    socket = AdapterSocket(model, network)
    with socket.placed(people([LEFT, None], [RIGHT, MIDDLE])):
        loss = model(**inputs(2)).sample.square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_recomputed_blocks_see_the_people_they_were_computed_with(adapter):
    """The backward pass of a batch comes after the next batch was placed, as with accumulated gradients."""
    gradients = {}
    for checkpointed in (False, True):
        model = transformer()
        if checkpointed:
            model.enable_gradient_checkpointing()
        socket = AdapterSocket(model, adapter)
        adapter.zero_grad()
        losses = []
        for seed, layout in ((1, [LEFT]), (2, [RIGHT, MIDDLE])):
            with socket.placed(people(layout, seed=seed)):
                losses.append(model(**inputs(1, seed)).sample.square().mean())
        for loss in losses:
            loss.backward()
        gradients[checkpointed] = {name: value.grad.clone() for name, value in adapter.named_parameters()}
        socket.remove()
    for name, plain in gradients[False].items():
        assert torch.allclose(gradients[True][name], plain, atol=1e-6 * plain.abs().max().item()), name


def test_nobody_in_a_batch_is_the_base_model_with_zero_gradients(adapter):
    model = transformer()
    arguments = inputs(2)
    plain = model(**arguments).sample
    socket = AdapterSocket(model, adapter)
    with socket.placed(people([None], [None, None])):
        dropped = model(**arguments).sample
    assert torch.equal(dropped, plain)
    dropped.square().mean().backward()
    assert all(value.grad is not None and value.grad.abs().max() == 0 for value in adapter.parameters())


def test_outside_the_with_and_unplugged_it_is_the_base_model(adapter):
    model, arguments = transformer(), inputs(1)
    plain = model(**arguments).sample
    socket = AdapterSocket(model, adapter)
    with torch.no_grad(), socket.placed(people([LEFT])):
        assert not torch.equal(model(**arguments).sample, plain)
    with socket.placed(None):
        assert torch.equal(model(**arguments).sample, plain)
    assert torch.equal(model(**arguments).sample, plain)
    socket.remove()
    with socket.placed(people([LEFT])):
        assert torch.equal(model(**arguments).sample, plain)


@torch.no_grad()
def test_two_sockets_in_one_transformer_keep_their_people_apart(tmp_path, adapter):
    model, shown = transformer(), people([LEFT])
    socket = AdapterSocket(model, adapter)
    with socket.placed(shown):
        alone = model(**inputs(1)).sample
    socket.remove()
    arc_only = AdapterNetwork.load(inspect_adapter(random_adapter(tmp_path / "arc.safetensors", shapes=(ARC,), seed=9)))
    AdapterSocket(model, arc_only)
    with AdapterSocket(model, adapter).placed(shown):
        assert torch.equal(model(**inputs(1)).sample, alone)


def test_float32_weights_work_beside_a_bfloat16_base(adapter):
    full, low = transformer(), transformer(torch.bfloat16)
    results = []
    for model, dtype in ((full, torch.float32), (low, torch.bfloat16)):
        with AdapterSocket(model, adapter).placed(people([LEFT, RIGHT])):
            results.append(model(**inputs(1, dtype=dtype)).sample)
    results[1].float().square().mean().backward()
    assert (results[1] - results[0]).abs().max() < 0.1 * results[0].abs().max()
    assert all(value.grad.dtype == torch.float32 and value.grad.abs().max() > 0 for value in adapter.parameters())


def test_a_branch_of_weight_zero_is_not_run(adapter):
    model, arguments, crowd = transformer(), inputs(1), people([LEFT])
    without_photo = PlacedPeople(crowd.arcface_BPE, crowd.members_BPN)
    alone = AdapterNetwork([ARC])
    alone.load_state_dict({key: value for key, value in adapter.state_dict().items() if ".arc." in key})
    results = []
    left_out = {Branch.ARC: 0.7, Branch.SIG: 0.0}
    for network, weights, someone in ((adapter, left_out, without_photo), (alone, {Branch.ARC: 0.7}, crowd)):
        socket = AdapterSocket(model, network, weights)
        with torch.no_grad(), socket.placed(someone):
            results.append(model(**arguments).sample)
        socket.remove()
    assert torch.equal(*results)


def test_the_sig_branch_asks_for_tokens(adapter):
    crowd = people([LEFT])
    socket = AdapterSocket(transformer(), adapter)
    without = PlacedPeople(crowd.arcface_BPE, crowd.members_BPN)
    with pytest.raises(ValueError, match="reads SigLIP tokens, and these people have none"), socket.placed(without):
        pass


def test_an_adapter_of_another_size_is_refused():
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"width 64 with 4 blocks; the base model has width 64 and 5 blocks"):
        AdapterSocket(transformer(), AdapterNetwork([replace(ARC, layers=4)]))
    with pytest.raises(ValueError, match="no sig branch"):
        AdapterSocket(transformer(), AdapterNetwork([ARC]), {Branch.SIG: 1.0})


def test_a_network_becomes_the_file_it_came_from(tmp_path, adapter):
    from safetensors.torch import load_file

    stored, made = load_file(tmp_path / "adapter.safetensors"), file_tensors(adapter.state_dict())
    assert made.keys() == stored.keys()
    assert all(torch.equal(made[key], stored[key]) for key in stored)
    assert [vars(shape) for shape in adapter.shapes.values()] == [vars(ARC), vars(SIG)]
