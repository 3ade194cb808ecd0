"""How often the CPU waits for the device because of people: once a run, whatever its steps and blocks."""

from dataclasses import replace

import pytest
import torch
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.comfyui.sampling import applied, sample, small_adapter
from withanyone_pack.tests.comfyui.small_flux import SMALL, small_flux
from withanyone_pack.tests.host_reads import HostReads
from withanyone_pack.withanyone_core.timing import Window


def reads(model, steps):
    """In a sampling run after a first one, which makes what lives longer than a run."""
    sigmas = tuple(torch.linspace(1, 0, steps + 1).tolist())
    with HostReads() as found:
        sample(model, sigmas=sigmas)
    return len(found.found)


def brought(base, patched, steps):
    return reads(patched, steps) - reads(base, steps)


def test_people_bring_no_wait_a_step(base, adapter):
    patched = applied(base, adapter)
    sample(patched)
    assert brought(base, patched, 2) == brought(base, patched, 4)


def test_people_bring_no_wait_a_block(tmp_path, base, adapter):
    deep = small_flux({**SMALL, "depth": 3, "depth_single_blocks": 5})
    shapes = tuple(replace(shape, layers=8) for shape in (ARC, SIG))
    (tmp_path / "deep").mkdir()
    few, many = applied(base, adapter), applied(deep, small_adapter(tmp_path / "deep", shapes))
    for patched in (few, many):
        sample(patched)
    assert brought(base, few, 2) == brought(deep, many, 2)


@pytest.mark.parametrize("steps", [2, 4])
def test_a_window_reads_sigma_at_most_once_a_step(base, adapter, steps):
    always, windowed = applied(base, adapter), applied(base, adapter, window=Window(0.0, 0.9))
    for patched in (always, windowed):
        sample(patched)
    assert reads(windowed, steps) - reads(always, steps) <= steps
