"""What the adapter costs the host at one sampling step: operations and seconds, all branches as one or one by one.

A FLUX.1 of full depth and small width, whose arithmetic is next to nothing: what is left is the calls of Python and of
torch, which is what a fast card waits for. The adapter in ComfyUI's casting layers, as in its socket; branch by branch
is the same written down plainly. Processor time, in turns. Needs the test bed that `bash test.sh` makes:

    .testbed/venv/bin/python benchmarks/host_time.py
"""

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pack import load_pack

load_pack()
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import comfy.ops
import torch
from adapter_step import BOXES, FluxStep, Machine, random_stream
from card import Card, device_here, launches
from random_adapter import RandomAdapter, Scene
from random_flux import FLUX_1, random_flux
from torch import Tensor
from withanyone_pack.tests.adapter.branch_by_branch import Runs, add_people
from withanyone_pack.tests.comfyui.small_flux import SMALL
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.injection.comfyui.injection import Injection
from withanyone_pack.withanyone_core.injection.comfyui.lean import LeanOperations
from withanyone_pack.withanyone_core.regions.cells import cell_groups

SIDE_PX, TEXT_TOKENS = 128, 16
FEW_TOKENS = {Branch.ARC: 8, Branch.SIG: 24}  # of a person
DEPTH = {name: FLUX_1[name] for name in ("depth", "depth_single_blocks")}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="timed turns, of which the median is taken")
    parser.add_argument("--faces", type=int, default=2, choices=range(1, len(BOXES) + 1))
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)

    torch.manual_seed(0)
    machine = Machine(device_here(), torch.float32, {**SMALL, **DEPTH})
    scene = Scene(SIDE_PX, TEXT_TOKENS, BOXES[: arguments.faces])
    adapter = machine.adapter(
        scene, operations=comfy.ops.manual_cast, stacked_operations=LeanOperations, tokens=FEW_TOKENS
    )
    injection, stream = adapter.injection(), random_stream(machine, scene)
    step = FluxStep(machine, random_flux(machine.sizes, machine.dtype, machine.device), adapter, injection)
    steps = {
        "FLUX.1 without": lambda: step(step.base),
        "stacked": lambda: adapter.sparse(injection, stream.clone()),
        "branch by branch": branch_by_branch(adapter, injection, stream),
    }
    seconds = median_host_seconds(steps, arguments.repeats)
    counts = {name: launches(run, machine.device) for name, run in steps.items()}
    figures = {name: f"{1e3 * seconds[name]:.1f} ms, {counts[name]} launches" for name in steps}
    one, other = "stacked", "branch by branch"
    figures["stacked of branch by branch"] = (
        f"1/{seconds[other] / seconds[one]:.1f} of the time, 1/{counts[other] / counts[one]:.1f} of the launches"
    )
    title = f"processor time of a step, {arguments.faces} faces, {machine}, median of {arguments.repeats}"
    print(Card.here().table(title, figures))
    if arguments.json:
        arguments.json.write_text(json.dumps({title: figures}, indent=1))


def median_host_seconds(steps: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Processor time of this thread, which other work on the machine does not change; in turns, after a first one."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            started = time.thread_time()
            step()
            taken[name].append(time.thread_time() - started)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def branch_by_branch(adapter: RandomAdapter, injection: Injection, stream: Tensor) -> Callable[[], Tensor]:
    """Every layer's update of the joint stream."""
    groups = cell_groups(list(adapter.scene.boxes), adapter.scene.grid)
    runs = Runs(
        torch.cat([group.cells for group in groups]).to(stream.device),
        tuple(len(group.cells) for group in groups),
        tuple(group.people for group in groups),
    )
    weights = injection.settings.weights
    made = {branch: [each.to(stream.device) for each in injection.keys_values[branch]] for branch in weights}

    def run() -> Tensor:
        updated = stream.clone()
        for layer in range(adapter.layers):
            layers = {branch: module[layer] for branch, module in adapter.attentions.items()}
            known = {branch: [each[layer] for each in people] for branch, people in made.items()}
            add_people(updated, runs, adapter.scene.text_tokens, layers, weights, known)
        return updated

    difference = (run() - adapter.sparse(injection, stream.clone())).abs().max() / run().abs().max()
    if difference > 1e-6:
        raise ValueError(f"Stacked differs from branch by branch by {difference:.1e} of the largest value.")
    return run


if __name__ == "__main__":
    main()
