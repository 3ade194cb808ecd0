"""How time and memory of a training step grow: measured on the miniature, and computed for sets of MultiID-2M's size.

Measured here: processor seconds and peak bytes of the real step on the miniature's shipped models (fresh arc adapter,
all of it trained, nothing computed twice), over batch, resolution and people. Beside them what docs/scale.md's formulas
say: bytes by a rehearsal on tensors without data, seconds as `overhead + operations / rate`, both fitted to the same
run. Then the document's tables, for the prices and rates given. Needs the test bed that `bash test.sh` makes, with the
extra `training`:

    .testbed/venv/bin/python benchmarks/scale.py
"""

import argparse
import copy
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
import torch
from pack import make_torchvision_importable

make_torchvision_importable()

from miniature.weights_folder import FACES, FLUX, VAE_FILE, shipped
from training.base.base import load_base
from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings
from training.loop.step import FrozenModels, compute_loss
from training.loop.trainable import Sizes, branch_weights, load_trainable
from training.losses.arcface import Recognizer
from training.memory.cost import Fleet, Work, efficiency, run_hours, run_price, step_seconds
from training.memory.counting import LiveBytes
from training.memory.dry_run import DummyModels, dry_run
from training.memory.fake_tensors import BatchShape, FakeTensors, batch_of
from withanyone_core.injection.diffusers import AdapterSocket

MIB, TERA = 2**20, 1e12
RECOGNIZER = "recognizer.onnx"
SIDE_PX, PEOPLE, COVERED = 176, 2, 0.2  # of an image that one person covers: 5 x 5 of 11 x 11 cells
BATCHES, SIDES_PX, CROWDS = (1, 2, 4, 8), (96, 128, 176, 192, 224), (1, 2, 3, 4)
TEXT = {"t5": (24, 128), "pooled": (128,)}
SAMPLES, PAPER_BATCH, TRAINED = 3_200_000, 32, 1_384_882_176
SAMPLE_FLOPS = 76.4 * TERA  # at 512 px, train_models.Size.reference_flops


@dataclass(frozen=True)
class Point:
    """One measured step, and what was computed for it."""

    name: str
    seconds: float
    peak: int
    flops: int
    predicted: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=3, help="timed steps of each size, of which the fastest is taken"
    )
    parser.add_argument("--tables", action="store_true", help="only the computed tables")
    parser.add_argument("--h100", type=float, default=2.5, help="price of an H100 or H200 for an hour")
    parser.add_argument("--small-card", type=float, default=0.4, help="price of a card of 24 GB for an hour")
    parser.add_argument("--utilization", type=float, default=0.3, help="of a device's product rate that a step reaches")
    arguments = parser.parse_args()
    print_tables(arguments)
    if not arguments.tables:
        print_measured(arguments.repeats)


def print_tables(arguments: argparse.Namespace) -> None:
    """Hours and price of the paper's 3.2 million samples at 512 px, the whole arc branch trained."""
    print(
        f"computed: {SAMPLES:,} samples of {SAMPLE_FLOPS / TERA:.1f} TFLOP, "
        f"{100 * arguments.utilization:.0f} % of the rate"
    )
    for name, rate, links, price in (
        ("H100 / H200", 790 * TERA, (300e9, 50e9), arguments.h100),
        ("24 GB card", 165 * TERA, (20e9, 3e9), arguments.small_card),
    ):
        for count in (1, 8, 64):
            # Up to 8 devices share a machine; between machines a network does.
            fleet = Fleet(count, rate, arguments.utilization, links[count > 8], price)
            work = Work(SAMPLES, max(PAPER_BATCH, count), SAMPLE_FLOPS, TRAINED)
            print(
                f"{count:3} x {name:12} {step_seconds(work, fleet):8.2f} s a step of {work.batch}, "
                f"{100 * efficiency(work, fleet):3.0f} % computing, {run_hours(work, fleet):8.1f} h, "
                f"{run_price(work, fleet):8,.0f} at {price:g} an hour"
            )


def print_measured(repeats: int) -> None:
    torch.set_num_threads(1)
    miniature = Miniature()
    shapes = {f"batch {batch}": batch_shape(batch=batch) for batch in BATCHES}
    shapes |= {f"{side} px": batch_shape(side_px=side) for side in SIDES_PX}
    shapes |= {f"{people} people": batch_shape(people=people) for people in CROWDS}
    points = [miniature.measured(name, shape, repeats) for name, shape in shapes.items()]
    overhead, rate = fitted(points)
    print(f"measured: {date.today()}, the miniature, processor time of one thread, torch {torch.__version__}, float32")
    print(f"fitted: {overhead:.3f} s a step and {rate / 1e9:.1f} GFLOP/s")
    for point in points:
        said = overhead + point.flops / rate
        off, off_bytes = said / point.seconds - 1, point.predicted / point.peak - 1
        print(f"{point.name:10} {point.flops / 1e9:7.2f} GFLOP ", end="")
        print(f"{point.seconds:7.3f} s (formula {said:7.3f}, {100 * off:+5.1f} %) ", end="")
        print(f"{point.peak / MIB:7.1f} MiB (formula {point.predicted / MIB:7.1f}, {100 * off_bytes:+5.1f} %)")


def batch_shape(batch: int = 2, side_px: int = SIDE_PX, people: int = PEOPLE) -> BatchShape:
    tokens = (side_px // 16) ** 2
    return BatchShape(side_px, side_px, batch, people, people, round(people * COVERED * tokens), TEXT)


def fitted(points: Sequence[Point]) -> tuple[float, float]:
    """Seconds of a step without work, and operations a second: least squares of relative distances."""
    weights = np.array([1 / point.seconds for point in points])
    terms = np.stack([weights, weights * [point.flops for point in points]], axis=1)
    overhead, inverse = np.linalg.lstsq(terms, np.ones(len(points)), rcond=None)[0]
    return float(overhead), float(1 / inverse)


class Miniature:
    """The shipped models with a fresh adapter, and the same without data."""

    def __init__(self) -> None:
        self.settings = read_settings(
            Finetune,
            ROOT / "training" / "recipes" / "miniature.yaml",
            ["out=none", "base.path=none", "adapter.init=none", "data.cache=none", "id_loss.recognizer=none"],
        )
        base = load_base(shipped(FLUX), shipped(VAE_FILE).parent, "fp32", "cpu")
        recognizer = Recognizer.load(shipped(FACES) / RECOGNIZER).requires_grad_(False)
        self.frozen = FrozenModels(base.transformer, base.vae, base.scale, recognizer)
        layers = len(base.transformer.transformer_blocks) + len(base.transformer.single_transformer_blocks)
        sizes = Sizes(base.transformer.inner_dim, layers, 512, None)
        device = torch.device("cpu")
        self.trained = load_trainable(self.settings.adapter, self.settings.train, sizes, device, torch.float32, 0)
        fakes = FakeTensors()
        modules = [fakes.without_data(copy.deepcopy(each)) for each in (base.transformer, base.vae, recognizer)]
        adapter = fakes.adapter(list(self.trained.network.shapes.values()), self.settings.train, torch.float32)
        weights = branch_weights(self.settings.adapter)
        self.models = DummyModels(fakes, FrozenModels(modules[0], modules[1], base.scale, modules[2]), adapter, weights)

    def measured(self, name: str, shape: BatchShape, repeats: int) -> Point:
        socket = AdapterSocket(self.frozen.transformer, self.trained.network, self.trained.weights)
        batch, seconds = batch_of(shape, torch.randn), []
        counted = LiveBytes()
        with counted:
            self._step(batch, socket)
        for _ in range(repeats):
            started = time.process_time()  # of one thread, which other work beside it hardly changes
            self._step(batch, socket)
            seconds.append(time.process_time() - started)
        socket.remove()
        known = dry_run(self.models, shape, self.settings)
        return Point(name, min(seconds), counted.peak, known.flops, known.peak)

    def _step(self, batch: object, socket: AdapterSocket) -> None:
        compute_loss(batch, self.frozen, socket, None, self.settings).loss.backward()
        for parameter in self.trained.parameters.values():
            parameter.grad = None


if __name__ == "__main__":
    main()
