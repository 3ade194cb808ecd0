"""What a training step costs, all samples ungated, the optimizer included, against what the device could do.

First the adapter's full weights by AdamW, checkpointed; then each preset of training/recipes. On a CUDA device FLUX.1
has its 19 + 38 blocks, VAE and ResNet-100 their full size, in bfloat16 or packed (trained weights and the recognizer in
float32). The limit is the rate of large bfloat16 products measured in the same run. On a CPU, or with --small,
everything is small and in float32: the numbers then say that it runs, and nothing about full size, and presets are only
counted. Weights are random: time does not depend on them. Also timed, against how they would be done otherwise:
negatives chosen by index, and masks of the people. Needs the test bed that `bash test.sh` makes, with the extra
`training`:

    .testbed/venv/bin/python benchmarks/train_step.py
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "training")]

import torch
from card import TERA, Card, device_here, matmul_rate
from card import now as _now
from pack import load_pack

load_pack()
from withanyone_pack.tests.training.rooms import add_training

add_training()
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from train_models import FULL, SMALL, Size, TrainStep, step_settings
from withanyone_pack.tests.training.flux_1 import flux_1_cast, flux_1_load

from training.configuration.finetune import Finetune
from training.losses.contrast import Bank, contrast, draw_rows
from training.memory.dry_run import dry_run
from training.memory.peak import GIB, memory_from
from withanyone_core.injection.placed_people import members
from withanyone_core.regions.cells import box_cells
from withanyone_core.regions.layout import Box

FACES, DRAWS, BANK = 8, 4096, 10000
PEAK_ERROR = 0.1  # of the computed peak
PRESETS = ("12gb", "16gb", "24gb", "80gb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512, help="of the images in pixels")
    parser.add_argument("--batch", type=int, default=4, help="samples of a step")
    parser.add_argument("--people", type=int, default=2, choices=range(1, 5), help="in each image")
    parser.add_argument("--sig", action="store_true", help="train the sig branch instead of the arc branch")
    parser.add_argument("--compile", action="store_true", help="compile FLUX.1's blocks, each alone")
    parser.add_argument("--repeats", type=int, default=10, help="timed steps, of which the median is taken")
    parser.add_argument("--small", action="store_true", help="small models on a CUDA device too")
    parser.add_argument("--presets", nargs="*", default=PRESETS, choices=PRESETS, help="which of them; all if not said")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    device = device_here()
    size = SMALL if arguments.small or device.type == "cpu" else FULL
    print(f"{date.today()}, {Card.here()}, {'full size' if size is FULL else 'small models'}")
    time_negatives(arguments.repeats)
    time_masks(arguments.batch, arguments.side, arguments.repeats)
    figures = time_step(size, device, arguments)
    presets = {name: time_preset(name, device, size is FULL, arguments) for name in arguments.presets}
    figures |= {f"preset {name}": preset.words for name, preset in presets.items()}
    title = f"a training step, {arguments.side} px, {'full size' if size is FULL else 'small models'}"
    print(Card.here().table(title, figures))
    if arguments.json:
        arguments.json.write_text(json.dumps({title: figures}, indent=1))
    wrong = [name for name, preset in presets.items() if abs(preset.error) > PEAK_ERROR]
    if wrong:
        sys.exit(f"The measured peak is more than {PEAK_ERROR:.0%} from the computed one: {', '.join(wrong)}")


@dataclass(frozen=True)
class Preset:
    """What a preset's step needs, as text, and by which fraction its measured peak misses the computed one."""

    words: str
    error: float = 0.0


def time_step(size: Size, device: torch.device, arguments: argparse.Namespace) -> dict[str, str]:
    """The step of a whole branch, printed; what of it goes into the table."""
    changes = [
        "train.mode=full",
        f"optim.batch_size={arguments.batch}",
        f"adapter.branch={'sig' if arguments.sig else 'arc'}",
    ]
    settings = step_settings(None, [*changes, f"base.precision={'bf16' if size is FULL else 'fp32'}"])
    step = TrainStep(size, device, arguments.side, arguments.people, settings, arguments.compile)
    seconds = step_seconds(step, arguments.repeats, device)
    rate = matmul_rate(device, size.dtype)
    with FlopCounterMode(display=False) as counted:
        step()
    print(f"{arguments.side} px, batch {arguments.batch}, {arguments.people} people, ", end="")
    print(f"{'sig' if arguments.sig else 'arc'} branch, full mode, AdamW, median of {arguments.repeats}", end="")
    print(", compiled blocks" if arguments.compile else "")
    figures = {
        "step": f"{seconds:.4f} s, {seconds / arguments.batch:.4f} s a sample",
        "measured matmul rate": f"{rate / TERA:.3f} TFLOP/s ({size.dtype})",
    }
    kinds = {
        "limit, dense adapter": arguments.batch * size.reference_flops(arguments.side),
        "counted in the step": counted.get_total_flops(),
    }
    for title, flops in kinds.items():
        figures[title] = f"{flops / TERA / arguments.batch:.3f} TFLOP a sample, {100 * flops / rate / seconds:.1f} % "
        figures[title] += "of the rate"
    if device.type == "cuda":
        figures["peak memory"] = f"{torch.cuda.max_memory_allocated() / GIB:.1f} GiB"
    for title, words in figures.items():
        print(f"{title:22} {words}")
    return figures


def time_preset(name: str, device: torch.device, is_full: bool, arguments: argparse.Namespace) -> Preset:
    """A preset's operations at full size, counted; on CUDA also its time and memory against the device's limit.

    Operations are those of the step as it is run, recomputed blocks among them.
    """
    settings = step_settings(ROOT / "training" / "recipes" / f"{name}.yaml")
    load, cast = flux_1_load(settings, arguments.side, arguments.people), flux_1_cast(settings)
    counted = dry_run(cast, load, settings)
    predicted = memory_from(cast, load, settings, counted)
    words = f"{arguments.side} px, batch {settings.optim.batch_size}: "
    words += f"{counted.flops / TERA / settings.optim.batch_size:.1f} TFLOP a sample, "
    words += f"peak {predicted.peak / GIB:.2f} GiB (computed)"
    if device.type != "cuda" or not is_full:
        preset = Preset(f"{words}; not run: its models have full size, and this is a CPU or --small")
    else:
        seconds, peak = preset_seconds(settings, device, arguments)
        rate = counted.flops / matmul_rate(device, torch.bfloat16) / seconds
        words += f", {peak / GIB:.2f} GiB measured; {seconds:.4f} s a step, {100 * rate:.1f} % of the device's limit"
        preset = Preset(words, peak / predicted.peak - 1)
    print(f"preset {name:5} {preset.words}", flush=True)
    return preset


def preset_seconds(settings: Finetune, device: torch.device, arguments: argparse.Namespace) -> tuple[float, int]:
    """Seconds of a preset's step and the peak of its tensors' bytes."""
    step = TrainStep(FULL, device, arguments.side, arguments.people, settings, arguments.compile)
    return step_seconds(step, arguments.repeats, device), torch.cuda.max_memory_allocated()


def step_seconds(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Median seconds of a step after some that compile, and let the allocator settle; peak memory counts from there."""
    for _ in range(3 if device.type == "cuda" else 1):
        step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return median_seconds(step, repeats, device)


def time_negatives(repeats: int) -> None:
    """Choosing 4096 negatives for each of 8 faces: by index, and by copying rows out of the bank name by name."""
    generator = torch.Generator().manual_seed(0)
    identities = torch.randint(0, BANK // 10, (BANK,), generator=generator)
    bank = Bank.of(torch.randn(BANK, 512, generator=generator), identities)
    people = torch.arange(FACES)
    made, wanted = torch.randn(2, FACES, 512, generator=generator)
    rows = draw_rows(bank, range(FACES), DRAWS, generator)
    by_index = processor_seconds(lambda: draw_rows(bank, range(FACES), DRAWS, generator), repeats)
    loss = processor_seconds(lambda: contrast(made, wanted, people, wanted, people, bank, rows), repeats)
    copied = processor_seconds(lambda: copied_pool(bank, people.tolist(), generator), 1)
    print(f"negatives, {FACES} faces x {DRAWS} of {BANK}: {1e3 * by_index:.2f} ms by index, ", end="")
    print(f"1/{copied / by_index:.0f} of {1e3 * copied:.0f} ms row by row; ", end="")
    print(f"their loss {1e3 * loss:.1f} ms (processor time)")


def copied_pool(bank: Bank, people: list[int], generator: torch.Generator) -> Tensor:
    """The other way: one draw after the other, each row copied."""
    pools = []
    for person in people:
        others = [group for group in range(len(bank.sizes_G)) if group != person]
        picks = torch.randint(0, len(others), (DRAWS,), generator=generator).tolist()
        starts = [int(bank.starts_G[others[pick]]) for pick in picks]
        pools.append(torch.stack([bank.unit_NE[start] for start in starts]))
    return torch.stack(pools)


def time_masks(batch: int, side: int, repeats: int) -> None:
    """Which tokens see whom, for four people an image: by rectangles, and token by token."""
    boxes = [Box(0.05 + 0.22 * place, 0.1, 0.25 + 0.22 * place, 0.4) for place in range(4)]
    regions = [boxes] * batch
    ours = processor_seconds(lambda: members(regions, side, side), repeats)
    slow = processor_seconds(lambda: token_by_token(regions, side), 1)
    assert torch.equal(members(regions, side, side), token_by_token(regions, side))
    print(f"masks, {batch} images of 4 people at {side} px: {1e3 * ours:.2f} ms, ", end="")
    print(f"1/{slow / ours:.0f} of a loop over tokens (processor time)")


def token_by_token(regions: list[list[Box]], side: int) -> Tensor:
    cells = side // 16
    found = torch.zeros(len(regions), len(regions[0]), cells * cells, dtype=torch.bool)
    for sample, boxes in enumerate(regions):
        for person, box in enumerate(boxes):
            left, top, right, bottom = box_cells(box.to_px(side, side), cells, cells)
            for token in range(cells * cells):
                found[sample, person, token] = left <= token % cells < right and top <= token // cells < bottom
    return found


def processor_seconds(run: Callable[[], object], repeats: int) -> float:
    """The median time a processor worked on it, which other work beside it hardly changes."""
    times = []
    for index in range(repeats + 1):
        started = time.process_time()
        run()
        if index:
            times.append(time.process_time() - started)
    return statistics.median(times)


def median_seconds(run: Callable[[], object], repeats: int, device: torch.device | None = None) -> float:
    times = []
    for index in range(repeats + 1):
        started = _now(device)
        run()
        if index:  # the first turn warms up
            times.append(_now(device) - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
