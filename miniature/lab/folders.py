"""Where the laboratory reads and writes."""

from pathlib import Path

LAB = Path(__file__).resolve().parent
ROOT = LAB.parents[1]
SCRATCH = LAB.parent / "scratch"  # rendered images, caches and unfinished runs; git ignores it
TRAINING_RECIPES = ROOT / "training/recipes"
