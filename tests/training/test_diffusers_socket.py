"""The adapter inside diffusers' classes. That both sockets give the released velocities is for the golden replays."""

import pytest
import torch
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG, random_adapter
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from withanyone_pack.tests.training.small_bases import BASES, COLUMNS, ROWS, TEXT

from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.network import AdapterNetwork, file_tensors
from withanyone_core.adapter.shape import Branch
from withanyone_core.injection.diffusers import AdapterSocket
from withanyone_core.injection.placed_people import PlacedPeople, members
from withanyone_core.injection.scene import make_scene
from withanyone_core.regions.layout import Box

LEFT, RIGHT, MIDDLE = Box(0.0, 0.1, 0.4, 0.8), Box(0.5, 0.2, 0.9, 0.9), Box(0.3, 0.3, 0.7, 0.7)


@pytest.fixture(params=BASES.values(), ids=list(BASES))
def base(request):
    return request.param


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


def row(batch_inputs, index):
    return {
        key: value[index : index + 1] if value.ndim and len(value) == 3 else value
        for key, value in batch_inputs.items()
    }


def test_every_sample_of_a_batch_has_its_own_people(base, adapter):
    """A batch of one, four and two people gives what each gives alone."""
    model = base.transformer()
    socket = AdapterSocket(model, adapter)
    layouts = [[LEFT], [LEFT, RIGHT, MIDDLE, Box(0.8, 0.0, 1.0, 0.3)], [RIGHT, MIDDLE]]
    together, arguments = people(*layouts), base.inputs(3)
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


def with_references(arguments, count=5):
    """The same with tokens of a reference image behind those of the image."""
    image, ids = arguments["hidden_states"], arguments["img_ids"]
    reference = torch.randn(len(image), count, image.shape[-1], generator=torch.Generator().manual_seed(2))
    places = ids[:count].clone()
    places[:, 0] = 10
    return {
        **arguments,
        "hidden_states": torch.cat([image, reference], dim=1),
        "img_ids": torch.cat([ids, places]),
    }


def block_outputs(model):
    """What each block gives, text and image tokens joined, in the order of hooks: call before and after plugging."""
    found = {}
    for layer, block in enumerate([*model.transformer_blocks, *model.single_transformer_blocks]):
        block.register_forward_hook(
            lambda module, args, output, layer=layer: found.update(
                {layer: (output if isinstance(output, torch.Tensor) else torch.cat(output, dim=1)).clone()}
            )
        )
    return found


def test_every_block_changes_tokens_inside_a_place_and_no_other(base, adapter):
    """Neither text, which comes first, nor a reference image, which comes last."""
    model, crowd = base.transformer(), people([LEFT, RIGHT])
    before = block_outputs(model)
    socket = AdapterSocket(model, adapter)
    after = block_outputs(model)
    with torch.no_grad(), socket.placed(crowd):
        model(**with_references(base.inputs(1)))
    inside = torch.nn.functional.pad(crowd.members_BPN[0].any(0), (TEXT, 5))
    assert len(after) == 5
    for layer, output in after.items():
        assert torch.equal((output != before[layer]).any(-1)[0], inside), layer


def test_a_person_changes_only_their_own_tokens(adapter):
    crowd, other = people([LEFT, RIGHT, MIDDLE]), people([LEFT, RIGHT, MIDDLE], seed=6)
    swapped = PlacedPeople(crowd.arcface_BPE.clone(), crowd.members_BPN, crowd.siglip_BPTW.clone())
    swapped.arcface_BPE[0, 1], swapped.siglip_BPTW[0, 1] = other.arcface_BPE[0, 1], other.siglip_BPTW[0, 1]
    stream = torch.randn(1, ROWS * COLUMNS, 64, generator=torch.Generator().manual_seed(1))
    weights = dict.fromkeys(Branch, 1.0)
    first, second = (make_scene(adapter, weights, each, torch.float32).added_to(stream, 0) for each in (crowd, swapped))
    assert torch.equal((first != second).any(-1)[0], crowd.members_BPN[0, 1])


def test_an_adapter_whose_outputs_are_zero_is_the_base_model(base, adapter):
    """As fresh weights begin."""
    for name, parameter in adapter.named_parameters():
        if name.endswith("to_out.weight"):
            parameter.data.zero_()
    model, arguments = base.transformer(), base.inputs(2)
    with torch.no_grad():
        plain = model(**arguments).sample
        with AdapterSocket(model, adapter).placed(people([LEFT], [RIGHT, MIDDLE])):
            assert torch.equal(model(**arguments).sample, plain)


def test_a_transformer_called_by_position_is_served_alike(base, adapter):
    model, arguments = base.transformer(), base.inputs(1)
    image, text = arguments["hidden_states"], arguments["encoder_hidden_states"]
    rest = {name: value for name, value in arguments.items() if "hidden_states" not in name}
    with torch.no_grad(), AdapterSocket(model, adapter).placed(people([LEFT])):
        assert torch.equal(model(image, text, **rest).sample, model(**arguments).sample)


@pytest.mark.parametrize("branches", [(Branch.ARC,), (Branch.SIG,), (Branch.ARC, Branch.SIG)])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_reach_every_trained_tensor_and_no_other(base, tmp_path, branches, checkpointed):
    file = inspect_adapter(random_adapter(tmp_path / "adapter.safetensors"))
    network, model = AdapterNetwork.load(file, branches), base.transformer()
    if checkpointed:
        model.enable_gradient_checkpointing()
    socket = AdapterSocket(model, network)
    with socket.placed(people([LEFT, None], [RIGHT, MIDDLE])):
        loss = model(**base.inputs(2)).sample.square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_recomputed_blocks_see_the_people_they_were_computed_with(base, adapter):
    """The backward pass of a batch comes after the next batch was placed, as with accumulated gradients."""
    gradients = {}
    for checkpointed in (False, True):
        model = base.transformer()
        if checkpointed:
            model.enable_gradient_checkpointing()
        socket = AdapterSocket(model, adapter)
        adapter.zero_grad()
        losses = []
        for seed, layout in ((1, [LEFT]), (2, [RIGHT, MIDDLE])):
            with socket.placed(people(layout, seed=seed)):
                losses.append(model(**base.inputs(1, seed)).sample.square().mean())
        for loss in losses:
            loss.backward()
        gradients[checkpointed] = {name: value.grad.clone() for name, value in adapter.named_parameters()}
        socket.remove()
    for name, plain in gradients[False].items():
        assert torch.allclose(gradients[True][name], plain, atol=1e-6 * plain.abs().max().item()), name


def test_nobody_in_a_batch_is_the_base_model_with_zero_gradients(base, adapter):
    model = base.transformer()
    arguments = base.inputs(2)
    plain = model(**arguments).sample
    socket = AdapterSocket(model, adapter)
    with socket.placed(people([None], [None, None])):
        dropped = model(**arguments).sample
    assert torch.equal(dropped, plain)
    dropped.square().mean().backward()
    assert all(value.grad is not None and value.grad.abs().max() == 0 for value in adapter.parameters())


def test_outside_the_with_and_unplugged_it_is_the_base_model(base, adapter):
    model, arguments = base.transformer(), base.inputs(1)
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
def test_two_sockets_in_one_transformer_keep_their_people_apart(base, tmp_path, adapter):
    model, shown = base.transformer(), people([LEFT])
    socket = AdapterSocket(model, adapter)
    with socket.placed(shown):
        alone = model(**base.inputs(1)).sample
    socket.remove()
    arc_only = AdapterNetwork.load(inspect_adapter(random_adapter(tmp_path / "arc.safetensors", shapes=(ARC,), seed=9)))
    AdapterSocket(model, arc_only)
    with AdapterSocket(model, adapter).placed(shown):
        assert torch.equal(model(**base.inputs(1)).sample, alone)


def test_float32_weights_work_beside_a_bfloat16_base(base, adapter):
    wide, narrow = base.transformer(), base.transformer(torch.bfloat16)
    results = []
    for model, dtype in ((wide, torch.float32), (narrow, torch.bfloat16)):
        with AdapterSocket(model, adapter).placed(people([LEFT, RIGHT])):
            results.append(model(**base.inputs(1, dtype=dtype)).sample)
    results[1].float().square().mean().backward()
    assert (results[1] - results[0]).abs().max() < 0.1 * results[0].abs().max()
    assert all(value.grad.dtype == torch.float32 and value.grad.abs().max() > 0 for value in adapter.parameters())


def test_a_branch_of_weight_zero_is_not_run(base, adapter):
    model, arguments, crowd = base.transformer(), base.inputs(1), people([LEFT])
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


def test_the_sig_branch_asks_for_tokens(base, adapter):
    crowd = people([LEFT])
    socket = AdapterSocket(base.transformer(), adapter)
    without = PlacedPeople(crowd.arcface_BPE, crowd.members_BPN)
    with pytest.raises(ValueError, match="reads SigLIP tokens, and these people have none"), socket.placed(without):
        pass


def test_an_adapter_of_another_size_is_refused(base):
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"width 64 with 4 blocks; the base model has width 64 and 5 blocks"):
        AdapterSocket(base.transformer(), AdapterNetwork([replace(ARC, layers=4)]))
    with pytest.raises(ValueError, match="no sig branch"):
        AdapterSocket(base.transformer(), AdapterNetwork([ARC]), {Branch.SIG: 1.0})


def test_a_network_becomes_the_file_it_came_from(tmp_path, adapter):
    from safetensors.torch import load_file

    stored, made = load_file(tmp_path / "adapter.safetensors"), file_tensors(adapter.state_dict())
    assert made.keys() == stored.keys()
    assert all(torch.equal(made[key], stored[key]) for key in stored)
    assert [vars(shape) for shape in adapter.shapes.values()] == [vars(ARC), vars(SIG)]
