"""The device's copies of keys and values, which live as long as one sampling run."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from ...adapter.stacked import BranchKeysValues
from .region_tokens import People


class DeviceKeysValues:
    """Everybody's keys and values beside a tensor and in its type, the values scaled by weights.

    People who follow each other and have equally many tokens lie in one tensor, so that one attention call can serve
    them without copying.

    made    of each branch, every person's [layers, 2, heads, tokens, 64] on the CPU
    scales  of each branch, every person's factor on the values
    """

    def __init__(self, made: Sequence[Sequence[Tensor]], scales: Sequence[Sequence[float]], like: Tensor) -> None:
        self._stacks = [_stacks(people, factors, like) for people, factors in zip(made, scales, strict=True)]
        self._layers: dict[tuple[People, ...], list[BranchKeysValues]] = {}

    def of(self, people: tuple[People, ...], layer: int) -> BranchKeysValues:
        """What the runs of a group attend to at a layer, [runs, heads, tokens of all people of a run, 64]."""
        if len(people) == 1 and len(people[0]) > 1:
            # Made as needed: kept for every run and layer, overlapping places would take the memory of more people.
            return [self._joined(branch, people[0], layer) for branch in range(len(self._stacks))]
        if people not in self._layers:
            self._layers[people] = self._views([person for (person,) in people])
        return self._layers[people][layer]

    def _views(self, people: Sequence[int]) -> list[BranchKeysValues]:
        """Of every layer."""
        branches = [self._part(branch, people[0], len(people)).unbind() for branch in range(len(self._stacks))]
        return [[tuple(layer.unbind()) for layer in layers] for layers in zip(*branches, strict=True)]

    def _joined(self, branch: int, people: People, layer: int) -> tuple[Tensor, Tensor]:
        keys, values = torch.cat([self._part(branch, person, 1)[layer] for person in people], dim=3).unbind()
        return keys, values

    def _part(self, branch: int, first: int, count: int) -> Tensor:
        """[layers, 2, people, heads, tokens, 64]."""
        start, stack = next(
            (start, stack) for start, stack in self._stacks[branch] if start <= first < start + stack.shape[2]
        )
        return stack.narrow(2, first - start, count)


def _stacks(people: Sequence[Tensor], scales: Sequence[float], like: Tensor) -> list[tuple[int, Tensor]]:
    """[layers, 2, people, heads, tokens, 64] of those who have equally many tokens, with the number of the first."""
    stacks = []
    for _, chosen in groupby(enumerate(people), key=lambda each: each[1].shape):
        numbers, made = zip(*chosen, strict=True)
        layers, two, *rest = made[0].shape
        # Filled person by person: stacking copies would take the memory twice.
        stack = like.new_empty(layers, two, len(made), *rest)
        for place, (number, each) in enumerate(zip(numbers, made, strict=True)):
            stack[:, :, place] = each
            stack[:, 1, place] *= scales[number]
        stacks.append((numbers[0], stack))
    return stacks
