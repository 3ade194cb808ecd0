"""Blocks that live in the CPU's memory: same results bitwise, two on the device at most."""

import gc
import weakref
from itertools import pairwise

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.training.small_gradients import BLOCKS, gradients, small_flux
from withanyone_pack.tests.training.test_quantize import replace_all

from training.base import block_swap
from training.base.block_swap import choose_swapped_blocks, swap_blocks
from training.base.transformer import load_transformer

CPU = torch.device("cpu")


def with_block_swap(count, quantization=None):
    model = small_flux()
    if quantization is not None:
        replace_all(model, quantization)
    swap_blocks(model, choose_swapped_blocks(BLOCKS, count), CPU)
    return model


@pytest.fixture
def copies(monkeypatch):
    """Every copy that is made: the block's number, how many are alive with it."""
    made, alive = [], []
    send = block_swap._Prefetcher._fetch

    def sent(courier, number):
        parcel = send(courier, number)
        alive.append(weakref.ref(parcel.flat.untyped_storage()))
        made.append((number, sum(each() is not None for each in alive)))
        return parcel

    monkeypatch.setattr(block_swap._Prefetcher, "_fetch", sent)
    return made


@pytest.mark.parametrize("quantization", [None, "fp8", "int8", "nf4"])
@pytest.mark.parametrize("count", [1, 2, BLOCKS])
def test_results_and_gradients_are_the_same_to_the_last_bit(count, quantization):
    if quantization == "nf4":
        pytest.importorskip("bitsandbytes")
    plain = small_flux()
    if quantization is not None:
        replace_all(plain, quantization)
    expected, found = gradients(plain, passes=2), gradients(with_block_swap(count, quantization), passes=2)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_each_block_comes_once_a_direction_and_two_are_there_at_most(copies):
    model = with_block_swap(BLOCKS)
    there, back = list(range(BLOCKS)), list(reversed(range(BLOCKS)))
    turned = []
    gradients(model, passes=2, during=lambda: turned.append(len(copies)))
    assert [number for number, _ in copies] == (there + back) * 2
    assert max(alive for _, alive in copies) == 2
    assert turned == [BLOCKS, 3 * BLOCKS]
    copies.clear()
    gc.collect()
    undifferentiated(model)
    assert copies == [(0, 1)] + [(number, 2) for number in there[1:]]


def undifferentiated(model):
    """A pass whose result nobody differentiates."""
    with torch.no_grad():
        model(
            hidden_states=torch.zeros(1, 4, 64),
            encoder_hidden_states=torch.zeros(1, 2, 48),
            pooled_projections=torch.zeros(1, 24),
            timestep=torch.ones(1),
            guidance=torch.ones(1),
            img_ids=torch.zeros(4, 3),
            txt_ids=torch.zeros(2, 3),
        )


def test_a_refused_pass_leaves_nothing_that_the_next_would_stumble_over(copies):
    model = with_block_swap(BLOCKS)
    expected = gradients(model)["made"]
    stop = model.single_transformer_blocks[0].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        undifferentiated(model)
    stop.remove()
    assert torch.equal(gradients(model)["made"], expected)
    assert max(alive for _, alive in copies) == 2


def test_nothing_is_ever_copied_back(copies):
    """The CPU's bytes are the ones it read, and a block has no values of its own between passes."""
    model = with_block_swap(2)
    blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
    gradients(model)
    empty = [all(each.is_meta for each in block.parameters()) for block in blocks]
    assert (
        [layer for layer, is_empty in enumerate(empty) if is_empty] == list(choose_swapped_blocks(BLOCKS, 2)) == [1, 3]
    )


def test_a_file_is_read_with_blocks_left_on_the_cpu(tmp_path):
    save_file(small_flux().state_dict(), tmp_path / "flux.safetensors")
    model = load_transformer(tmp_path / "flux.safetensors", torch.float32, blocks_to_swap=3)
    expected, found = gradients(small_flux()), gradients(model)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    with pytest.raises(ValueError, match=r"blocks_to_swap is 6, and the base model has 5 blocks. Set it to 5 at most"):
        load_transformer(tmp_path / "flux.safetensors", torch.float32, blocks_to_swap=6)


@pytest.mark.parametrize("blocks", [1, 5, 57])
def test_swapped_blocks_are_spread(blocks):
    for count in range(blocks + 1):
        chosen = choose_swapped_blocks(blocks, count)
        assert len(set(chosen)) == count
        assert all(0 <= layer < blocks for layer in chosen)
        gaps = [after - before for before, after in pairwise(chosen)]
        assert not gaps or max(gaps) - min(gaps) <= 1


def test_pieces_are_powers_of_two_and_waste_little():
    for size in (1, 2**20, 2**20 + 1, 700_000_001):
        pieces = list(block_swap._pieces(size))
        assert all(length & (length - 1) == 0 for _, length in pieces)
        assert [start for start, _ in pieces] == [sum(length for _, length in pieces[:i]) for i in range(len(pieces))]
        assert size <= sum(length for _, length in pieces) < size + 2**20


@pytest.mark.needs_gpu
@pytest.mark.parametrize("quantization", [None, "fp8", "int8", "nf4"])
def test_the_same_on_cuda_with_less_of_its_memory(quantization):
    device = torch.device("cuda")
    plain = small_flux()
    if quantization is not None:
        replace_all(plain, quantization)
    expected = gradients(plain.to(device), device=device)
    model = small_flux()
    if quantization is not None:
        replace_all(model, quantization)
    swap_blocks(model.to(device), range(BLOCKS), device)
    found = gradients(model, device=device)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
