"""Half an hour on a GPU: one command that settles what reading the program cannot.

Each stage is a process with a time limit of its own. As soon as one ends, OUT/NAME.txt holds what it printed and
OUT/NAME.json whether it passed, and its figures; OUT/FIGURES.md holds the tables of all stages run so far, ready for
benchmarks/FIGURES.md. Weights are random and made on the device, so nothing is downloaded and no model is needed. The
last line says pass or fail.

    .testbed/venv/bin/python benchmarks/gpu_rehearsal.py --out rehearsal
    .testbed/venv/bin/python benchmarks/gpu_rehearsal.py --out rehearsal --only step waits
    .testbed/venv/bin/python benchmarks/gpu_rehearsal.py --out rehearsal --dry     # small, on a CPU
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from card import Card

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
DEVICES_TEST = "tests/adapter/test_devices.py"
DRY_SECONDS = 600  # of a stage; a CPU may be busy with other work


@dataclass(frozen=True)
class Stage:
    """A command and how long it may take.

    settles  what is known once it has passed
    program  a file of benchmarks/ that takes --json, or "pytest"
    full     its arguments on a GPU
    dry      its arguments at small size on a CPU
    """

    name: str
    settles: str
    limit_s: int
    program: str
    full: tuple[str, ...]
    dry: tuple[str, ...]

    def command(self, out: Path, is_dry: bool) -> list[str]:
        arguments = self.dry if is_dry else self.full
        if self.program == "pytest":
            # By its function and not `-m pytest`, which would make the clone's root importable.
            start = "import sys, pytest; sys.path.pop(0); sys.exit(pytest.main(sys.argv[1:]))"
            return [sys.executable, "-c", start, "-q", "-p", "no:cacheprovider", *arguments]
        return [sys.executable, str(BENCHMARKS / self.program), *arguments, *self._figures(out)]

    def figures(self, out: Path) -> dict[str, dict[str, object]]:
        """Tables by title, as far as the stage came."""
        path = self._path(out)
        return json.loads(path.read_text()) if path.is_file() else {}

    def forget(self, out: Path) -> None:
        """Removes the figures of an earlier run."""
        self._path(out).unlink(missing_ok=True)

    def _figures(self, out: Path) -> list[str]:
        return ["--json", str(self._path(out))]

    def _path(self, out: Path) -> Path:
        return out / f"{self.name}.figures.json"


@dataclass(frozen=True)
class Result:
    """How a stage ended, as its JSON file says it."""

    stage: str
    settles: str
    passed: bool
    ended: str
    seconds: float
    limit_s: int
    card: str
    figures: dict[str, dict[str, object]]


def own(name: str, settles: str, limit_s: int) -> Stage:
    """A stage of rehearsal_stages.py."""
    return Stage(name, settles, limit_s, "rehearsal_stages.py", (name,), (name, "--small"))


def tests(name: str, settles: str, limit_s: int, *chosen: str) -> Stage:
    """A stage of tests; at small size one file of them, which also runs in the suite."""
    return Stage(name, settles, limit_s, "pytest", chosen, (DEVICES_TEST,))


def step(name: str, settles: str, limit_s: int, *choices: str) -> Stage:
    """A stage of adapter_step.py."""
    full = ("--side", "1024", "512", "--faces", "2", "4", *choices)
    return Stage(name, settles, limit_s, "adapter_step.py", full, ("--small", "--side", "128", "--repeats", "1"))


def small_card(gib: int) -> Stage:
    return Stage(
        f"card_{gib}",
        f"what a card of {gib} GiB meets",
        90,
        "small_card.py",
        ("--gib", str(gib)),
        ("--gib", str(gib), "--small"),
    )


TRAINING_DRY = ("--small", "--side", "64", "--batch", "1", "--repeats", "1", "--presets")
# What matters most comes first, for an hour that is cut short.
STAGES = (
    own("imports", "whether all is there, and the card's matmul rate", 120),
    tests("gpu_tests", "nf4, fp8, int8 autograd, copy streams, 8-bit AdamW", 240, "-m", "needs_gpu", "tests/training"),
    tests("socket_tests", "devices and dtypes in the socket", 240, "tests/adapter", "tests/comfyui/socket"),
    Stage(
        "training",
        "peaks against prediction, seconds a sample, percent of limit",
        420,
        "train_step.py",
        ("--repeats", "5"),
        TRAINING_DRY,
    ),
    own("finetune", "the training loop on the card, resumed", 240),
    step("step", "ms a step, launch-bound or not, equality with dense", 240),
    own("waits", "no host sync that people bring", 90),
    step("step_blocks", "the same with compiled blocks", 240, "--compile", "blocks"),
    own("compiled", "wrong images and recompiles under TorchCompileModel", 300),
    own("adapter", "reading a whole adapter file, Apply's peak, fp8, LoRA", 180),
    *(small_card(gib) for gib in (8, 12, 16)),
)
# Many processes of one thing say nothing more at small size.
NOT_DRY = {"gpu_tests", "step_blocks", "card_8", "card_16"}


def main(given: Sequence[str] | None = None) -> int:
    names = [stage.name for stage in STAGES]
    lines = "\n".join(f"  {stage.name:12} {stage.limit_s:4} s  {stage.settles}" for stage in STAGES)
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nStages:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder for the results; made where it is missing")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these stages; all if not said")
    parser.add_argument("--dry", action="store_true", help="every stage at small size, also without a GPU")
    arguments = parser.parse_args(given)
    arguments.out.mkdir(parents=True, exist_ok=True)
    card = Card.here()
    chosen = [stage for stage in STAGES if stage.name in arguments.only]
    if arguments.dry and len(arguments.only) == len(names):
        chosen = [stage for stage in chosen if stage.name not in NOT_DRY]
    results = []
    for stage in chosen:
        results.append(run(stage, arguments.out.resolve(), arguments.dry, card))
        (arguments.out / "FIGURES.md").write_text(tables(results_in(arguments.out), card))
        print(f"{results[-1].ended:10} {results[-1].seconds:6.1f} s  {stage.name}: {stage.settles}", flush=True)
    failed = [result.stage for result in results if not result.passed]
    print(f"FAIL: {', '.join(failed)}" if failed else f"PASS: {len(results)} stages on {card}")
    return 1 if failed else 0


def run(stage: Stage, out: Path, is_dry: bool, card: Card) -> Result:
    """One stage, ended at its limit with all that it started; its files are there when this returns."""
    limit = DRY_SECONDS if is_dry else stage.limit_s
    stage.forget(out)
    started = time.monotonic()
    with (out / f"{stage.name}.txt").open("w") as text:
        process = subprocess.Popen(
            stage.command(out, is_dry), cwd=ROOT, stdout=text, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
            ended = "passed" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            ended = "timed out"
    seconds = round(time.monotonic() - started, 1)
    figures = stage.figures(out)
    result = Result(stage.name, stage.settles, ended == "passed", ended, seconds, limit, str(card), figures)
    (out / f"{stage.name}.json").write_text(json.dumps(asdict(result), indent=1))
    return result


def results_in(out: Path) -> list[Result]:
    """Of every stage that was run into a folder, earlier commands' among them."""
    paths = [out / f"{stage.name}.json" for stage in STAGES]
    return [Result(**json.loads(path.read_text())) for path in paths if path.is_file()]


def tables(results: Sequence[Result], card: Card) -> str:
    """What FIGURES.md gets: how each stage ended, then its tables."""
    ends = {result.stage: f"{result.ended}, {result.seconds} s: {result.settles}" for result in results}
    named = [card.table(title, figures) for result in results for title, figures in result.figures.items()]
    return "\n".join([card.table("GPU rehearsal", ends), *named])


if __name__ == "__main__":
    sys.exit(main())
