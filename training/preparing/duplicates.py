"""Photos that show the same: perceptual hashes that differ in a few bits only."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from .photos import hash_distance

BITS = 64


def duplicates(hashes: Sequence[int], distance: int) -> dict[int, int]:
    """For each photo that repeats an earlier one its number, with that of the earlier one.

    distance  bits that may differ, 0 to 63

    Hashes that differ in at most d bits agree in one of d + 1 bands at least, so only photos that share a band are
    compared: that finds all of them without comparing every pair.
    """
    edges = [BITS * band // (distance + 1) for band in range(distance + 2)]
    seen: dict[tuple[int, int], list[int]] = defaultdict(list)
    found: dict[int, int] = {}
    for number, value in enumerate(hashes):
        bands = [(low, value >> low & ((1 << high - low) - 1)) for low, high in pairwise(edges)]
        candidates = {earlier for band in bands for earlier in seen[band]}
        same = [earlier for earlier in candidates if hash_distance(hashes[earlier], value) <= distance]
        if same:
            found[number] = min(same)
            continue
        for band in bands:
            seen[band].append(number)
    return found
