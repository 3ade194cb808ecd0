"""Validations with given means, as a judge's scores of single images."""

import numpy as np

from .rooms import add_training

add_training()
from training.loop.early_stopping import ValidationScores

IMAGES = 8


def scores(step, sim_gt, copy_paste, spread=0.0, people=0.0, count=IMAGES, setup="") -> ValidationScores:
    """Of a step: means, what each image's likeness is off by (either way), and how much people differ."""
    names = [f"image {number}" for number in range(count)]
    off = np.resize([spread, -spread], count) * (count // 2 * 2) / count
    own = np.linspace(-people, people, count)
    likeness = sim_gt + own + (off - off.mean())
    return ValidationScores(
        step,
        dict(zip(names, likeness.tolist(), strict=True)),
        dict.fromkeys(names, copy_paste),
        setup,
    )


def measured(step, sim_gt, copy_paste, **choices):
    """The same as a run remembers it."""
    found = scores(step, sim_gt, copy_paste, **choices)
    images = {
        name: {"sim_gt": value, "sim_ref": value, "copy_paste": found.copy_paste[name], "leakage": None, "photos": 0.5}
        for name, value in found.sim_gt.items()
    }
    means = {
        metric: {"mean": found.mean(metric), "low": None, "high": None, "n": len(images)}
        for metric in ("sim_gt", "copy_paste")
    }
    return {"step": step, "validation": [0.5], **means, "images": images, "setup": found.setup}
