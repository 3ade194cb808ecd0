"""Both branches as one: equal to the branches one by one, in half of the operations, whatever the places."""

from dataclasses import replace

import pytest
import torch
from withanyone_pack.tests.adapter.branch_by_branch import Runs, add_people
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.ops
from torch.utils._python_dispatch import TorchDispatchMode
from withanyone_pack.tests.comfyui.sampling import person, small_adapter
from withanyone_pack.tests.device_tensors import OnDevice, move
from withanyone_pack.tests.host_reads import HostReads
from withanyone_pack.withanyone_core.adapter.attention import IdentityAttention
from withanyone_pack.withanyone_core.adapter.checkpoint import read_part
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.injection.comfyui.forward import Forward
from withanyone_pack.withanyone_core.injection.comfyui.keys_values import DeviceKeysValues
from withanyone_pack.withanyone_core.injection.comfyui.region_tokens import group_tokens
from withanyone_pack.withanyone_core.regions.cells import Grid, cell_groups
from withanyone_pack.withanyone_core.regions.layout import Box

COLUMNS, ROWS, TEXT = 20, 16, 7
GRID = Grid(COLUMNS, ROWS, 16 * COLUMNS, 16 * ROWS)
CPU = torch.device("cpu")
WEIGHTS = {Branch.ARC: 0.3, Branch.SIG: 0.8}
LEFT, RIGHT = Box(0.05, 0.2, 0.45, 0.8), Box(0.55, 0.2, 0.95, 0.8)
PLACES = {
    "equal": [LEFT, RIGHT],
    "nearly equal": [LEFT, Box(0.55, 0.2, 0.9, 0.8)],
    "unequal": [LEFT, Box(0.6, 0.2, 0.7, 0.3)],
    "overlapping": [Box(0.05, 0.2, 0.6, 0.8), Box(0.4, 0.2, 0.95, 0.8)],
    "one inside another": [Box(0.0, 0.0, 1.0, 1.0), Box(0.3, 0.3, 0.6, 0.6), LEFT],
    "alone": [LEFT],
    "four": [Box(0.0, 0.0, 0.3, 0.4), RIGHT, Box(0.0, 0.6, 0.3, 1.0), Box(0.35, 0.0, 0.5, 0.9)],
    "the middle one nowhere": [LEFT, Box(0.0, 0.0, 0.0, 0.0), RIGHT],
}
VIEWS = {"view", "_unsafe_view", "slice", "select", "transpose", "permute", "expand", "unsqueeze", "squeeze", "alias"}
VIEWS |= {"split", "split_with_sizes", "t", "detach", "unbind", "narrow", "unflatten"}


class Operations(TorchDispatchMode):
    """Names of what is computed, each at least one launch on a device; views cost nothing there."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name not in VIEWS:
            self.names.append(name)
        return function(*args, **(kwargs or {}))


class Both:
    """The same adapter and people, stacked and branch by branch."""

    def __init__(self, adapter, places, weights=WEIGHTS, scales=None, batch=1, seed=0):
        generator = torch.Generator().manual_seed(seed)
        identities = [person(number) for number in range(len(places))]
        self.weights, file = weights, adapter.file
        self.scales = scales or [1.0] * len(places)
        self.made = {branch: [adapter.keys_values(branch, who) for who in identities] for branch in weights}
        self.groups = cell_groups(places, GRID)
        tokens = [tuple(made.shape[-2] for made in each) for each in zip(*self.made.values(), strict=True)]
        self.region_tokens = group_tokens(self.groups, tokens, CPU)
        self.attention = adapter.attention(tuple(weights)).model
        self.apart = {branch: IdentityAttention(file.shapes[branch], comfy.ops.manual_cast) for branch in weights}
        for branch, module in self.apart.items():
            module.load_state_dict(read_part(file, branch, "attention"))
        hidden = file.shapes[Branch.ARC].hidden
        self.stream = torch.randn(batch, TEXT + ROWS * COLUMNS, hidden, generator=generator).to(file.dtype)
        factors = [[weight * scale for scale in self.scales] for weight in weights.values()]
        self.on_device = DeviceKeysValues(list(self.made.values()), factors, self.stream)

    def stacked(self):
        """The stream after every layer, the first two of which have no text before the image."""
        forward = Forward([self.region_tokens], 1.0, self.attention, lambda _: self.on_device)
        stream = self.stream.clone()
        with torch.no_grad():
            for layer in range(len(self.attention)):
                forward.add_people(stream, layer, 0 if layer < 2 else TEXT)
        return stream

    def branch_by_branch(self):
        runs = Runs(
            torch.cat([group.cells for group in self.groups]),
            tuple(len(group.cells) for group in self.groups),
            tuple(group.people for group in self.groups),
        )
        stream = self.stream.clone()
        with torch.no_grad():
            for layer in range(len(self.attention)):
                keys_values = {
                    branch: [self._of_person(each[layer], scale) for each, scale in self._people(branch)]
                    for branch in self.weights
                }
                layers = {branch: module[layer] for branch, module in self.apart.items()}
                add_people(stream, runs, 0 if layer < 2 else TEXT, layers, self.weights, keys_values)
        return stream

    def _people(self, branch):
        return zip(self.made[branch], self.scales, strict=True)

    @staticmethod
    def _of_person(made, scale):
        return made if scale == 1.0 else torch.stack([made[0], made[1] * scale])


def distance(one, other):
    return ((one - other).abs().max() / other.abs().max()).item()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("places", PLACES)
def test_stacked_equals_branch_by_branch(adapter, places, batch):
    both = Both(adapter, PLACES[places], batch=batch)
    expected = both.branch_by_branch()
    assert distance(both.stacked(), expected) < 1e-6
    assert distance(both.stream, expected) > 1e-2


@pytest.mark.parametrize("branch", list(Branch))
def test_a_branch_alone_equals_itself(adapter, branch):
    both = Both(adapter, PLACES["four"], weights={branch: 0.7})
    assert distance(both.stacked(), both.branch_by_branch()) < 1e-6


def test_people_of_different_weight_are_served_together(adapter):
    both = Both(adapter, PLACES["equal"], scales=[0.4, 1.3])
    assert len(both.region_tokens.groups) == 1
    assert distance(both.stacked(), both.branch_by_branch()) < 1e-6


def test_half_precision_is_no_worse_than_branch_by_branch(tmp_path):
    """Against the same weights computed in float32: what the folding rounds, the fewer operations no longer do."""
    both = Both(small_adapter(tmp_path, dtype=torch.bfloat16), PLACES["four"])
    rounded, apart = both.stacked().float(), both.branch_by_branch().float()
    both.stream = both.stream.float()
    both.made = {branch: [each.float() for each in made] for branch, made in both.made.items()}
    exact = both.branch_by_branch()
    assert (rounded - exact).norm() < 1.1 * (apart - exact).norm()


def test_two_faces_take_less_than_half_of_the_operations(adapter):
    both = Both(adapter, PLACES["equal"])
    counts = []
    for run in (both.stacked, both.branch_by_branch):
        with Operations() as counted:
            run()
        counts.append(len(counted.names))
    assert counts[0] <= counts[1] / 2


def test_indices_are_made_once_a_step_and_not_for_each_block(adapter):
    both = Both(adapter, PLACES["nearly equal"])
    with Operations() as counted:
        both.stacked()
    assert counted.names.count("add") - len(both.attention) <= 2  # one for the double blocks and one for the single


def test_short_runs_do_not_make_others_wait(adapter):
    """No call computes more than a third beyond what is wanted."""
    for places in PLACES.values():
        both = Both(adapter, places)
        wanted = sum(len(group.cells) for group in both.groups)
        assert sum(group.size for group in both.region_tokens.groups) == len(both.region_tokens.cells) <= wanted * 4 / 3


def test_people_with_more_tokens_than_others_are_served_apart(base, adapter):
    groups = cell_groups(PLACES["equal"], GRID)
    assert len(group_tokens(groups, [(4, 20), (4, 20)], CPU).groups) == 1
    assert len(group_tokens(groups, [(4, 20), (4, 24)], CPU).groups) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_a_device_a_step_meets_nothing_of_the_cpu_and_waits_for_nothing(tmp_path, dtype):
    both = Both(small_adapter(tmp_path, dtype=dtype), PLACES["nearly equal"])
    move(both.attention)
    tokens = both.region_tokens
    both.region_tokens = replace(tokens, cells=OnDevice(tokens.cells), kept=OnDevice(tokens.kept))
    both.stream = OnDevice(both.stream)
    OnDevice.mixed.clear()
    with torch.no_grad():
        both.on_device = DeviceKeysValues(list(both.made.values()), [[1.0, 0.5]] * 2, both.stream)
        with HostReads() as reads:
            out = both.stacked()
    assert (type(out), out.dtype, reads.found, OnDevice.mixed) == (OnDevice, dtype, [], [])
