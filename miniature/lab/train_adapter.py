"""`python miniature/lab/train_adapter.py` makes the miniature's adapter with the commands users train their own with.

Photos of its people are rendered and prepared by training/prepare.py, each branch is trained alone by
training/finetune.py on the frozen base model, from what learned together with it, and both become one file with a card.
Each part resumes where it stopped.
"""

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from safetensors import safe_open

from miniature.lab.folders import ROOT, SCRATCH, TRAINING_RECIPES
from miniature.lab.recipes.cards import ModelCard, digest_of, machine, write_card
from miniature.lab.recipes.photos import PhotoSet, write_photos
from miniature.lab.recipes.tensor_files import write_tensors
from miniature.weights_folder import ADAPTER, JOINT_ADAPTER, WEIGHTS
from miniature.world.scene import SIDE_PX, SPOTS
from training import finetune, prepare
from withanyone_core.adapter.branches import merge
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.adapter.places import places_header
from withanyone_core.adapter.shape import Branch
from withanyone_core.command import RESUMES, run_command
from withanyone_core.regions.layout import Box

PREPARING, TRAINING = TRAINING_RECIPES / "prepare_miniature.yaml", TRAINING_RECIPES / "miniature.yaml"
PHOTOS = PhotoSet(first=200_000, identities=400, portraits=3, groups=900)
# Nobody is held out: the evidence is measured on people whom the world has besides.
PREPARED_WITH = ("crops=1", "held_out=0", "unclear_folders=leave_out")


@dataclass(frozen=True)
class RunMetrics:
    """What a run's metrics say: its steps, the seconds they took and the mean loss of the last hundred."""

    steps: int
    seconds: float
    loss: float


def make(
    scratch: Path,
    out: Path,
    start: Path,
    changes: Sequence[str] = (),
    photos: PhotoSet = PHOTOS,
    workers: int | None = None,
) -> Path:
    """Everything from photos to the card; the adapter's path.

    start    the adapter that the arc branch starts from; the sig branch starts from its result
    changes  settings of training, KEY=VALUE
    workers  processes that render; default: one a core

    Raises RuntimeError where a part has not come to its end; it has said why.
    """
    folder, cache = scratch / "photos", scratch / "cache"
    write_photos(photos, folder, workers)
    _ended("prepare.py", prepare.main([str(PREPARING), f"data={folder}", f"cache={cache}", *PREPARED_WITH]))
    runs = []
    for branch in (Branch.ARC, Branch.SIG):
        runs.append(scratch / f"adapter_{branch.value}")
        own = [f"adapter.branch={branch.value}", f"adapter.init={start}", f"data.cache={cache}", f"out={runs[-1]}"]
        _ended("finetune.py", finetune.main([str(TRAINING), *own, *changes]))
        # A result holds the other branch as it was given: the next run has to be given what this one learned.
        start = runs[-1] / "adapter.safetensors"
    return _joined(runs, out)


def _ended(command: str, code: int) -> None:
    if code:
        raise RuntimeError(f"{command} ended with {code}. Start this command again: it resumes there.")


def _joined(runs: Sequence[Path], out: Path) -> Path:
    """One file of both branches in half precision, and its card."""
    files = [inspect_adapter(run / "adapter.safetensors") for run in runs]
    tensors = {key: tensor.half() for key, tensor in merge(files).items()}
    path = out / ADAPTER
    with safe_open(files[0].path, framework="pt") as reader:
        header = reader.metadata()  # of the arc branch: whose face embeddings it knows, and how it was made
    places = [Box.from_px(*spot.box_px, SIDE_PX, SIDE_PX) for spot in SPOTS]
    write_tensors(path, tensors, header | places_header(places, SIDE_PX, SIDE_PX))
    write_card(_card(path, out, [_metrics(run / "metrics.csv") for run in runs]), out)
    return path


def _card(path: Path, out: Path, runs: Sequence[RunMetrics]) -> ModelCard:
    return ModelCard(
        name="adapter",
        files={path.relative_to(out).as_posix(): digest_of(path)},
        recipe=TRAINING.relative_to(ROOT).as_posix(),
        seed=42,
        steps=sum(each.steps for each in runs),
        seconds=round(sum(each.seconds for each in runs), 1),
        rendering_seconds=0.0,
        loss=round(runs[0].loss, 6),
        machine=machine(),
        torch=torch.__version__,
        date=date.today().isoformat(),
    )


def _metrics(path: Path) -> RunMetrics:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["loss"]) for row in rows[-100:]]
    return RunMetrics(
        int(rows[-1]["step"]), math.fsum(float(row["s_per_step"]) for row in rows), math.fsum(losses) / len(losses)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a finished adapter, 2 for anything that went wrong."""
    return run_command("train_adapter", _parser(), _run, arguments, interrupted=RESUMES)


def _run(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    photos = PhotoSet(PHOTOS.first, options.identities, options.portraits, options.groups)
    sys.stdout.write(f"{make(options.scratch, options.out, options.start, options.changes, photos)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python miniature/lab/train_adapter.py",
        description="Makes the miniature's adapter: photos, prepare.py, finetune.py for both branches, one file.",
    )
    add = parser.add_argument
    add("changes", nargs="*", metavar="KEY=VALUE", help="settings of finetune.py, such as optim.steps=4000")
    add("--out", type=Path, default=WEIGHTS, metavar="DIR", help="folder for the adapter and its card")
    add("--start", type=Path, default=WEIGHTS / JOINT_ADAPTER, metavar="FILE", help="what both branches start from")
    add("--identities", type=int, default=PHOTOS.identities, metavar="N", help="people (default: %(default)s)")
    add("--portraits", type=int, default=PHOTOS.portraits, metavar="N", help="of each (default: %(default)s)")
    add("--groups", type=int, default=PHOTOS.groups, metavar="N", help="of two to four people (default: %(default)s)")
    add("--scratch", type=Path, default=SCRATCH, metavar="DIR", help="folder for photos and runs")
    add("--threads", type=int, metavar="N", help="of torch (default: as many as there are cores)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
