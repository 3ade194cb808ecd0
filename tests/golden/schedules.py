"""Replay of the sigmas."""

import json
from collections.abc import Iterator
from pathlib import Path

from ...withanyone_core.schedule import released_sigmas
from .report import Outcome, not_applicable, within
from .stored import tensors

SIGMAS = 2e-7


def sigmas(path: Path) -> Iterator[Outcome]:
    sizes = json.loads(path.with_suffix(".json").read_text())
    for name, reference in tensors(path).items():
        if name.endswith("bf16_timesteps"):
            yield not_applicable(name, "timesteps are not rounded to bfloat16; ComfyUI feeds them in float32")
            continue
        size = sizes[name]
        yield within(name, released_sigmas(size["steps"], size["width"], size["height"]), reference, SIGMAS)
