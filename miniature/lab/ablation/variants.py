"""The recipes that are compared: each adds one thing to the one before."""

from collections.abc import Sequence
from dataclasses import dataclass

SELF, PAIRS, ALIGNED, FEW, MANY = "a", "b", "c", "d63", "d4096"
START = "start"
SEEDS = (0, 1, 2)
# What every variant has unless it takes it away: the paper's weights and ratio of pairs, and no phases.
COMMON = (
    "phases=[]",
    "data.paired_ratio=0.5",
    # The mean over a person's photos would be no photo to copy.
    "data.references=photo",
    "id_loss.weight=0.1",
    "nce.weight=0.1",
    "nce.negatives=4096",
)
# Short runs from an adapter that has learned the first half, of both branches, so that there is a slider between them.
SHORT = (
    "adapter.branch=both",
    "optim.lr=1e-3",
    "optim.batch_size=8",
    "optim.gradient_accumulation_steps=1",
    "optim.warmup_steps=20",
)
# Nobody looks at previews, so nothing stops early, and each run's result is its last step.
UNWATCHED = ("validation.num_images=0", "validation.judges=[]", "save.keep=1", "data.max_people=4")
NO_LOSSES = ("id_loss.weight=0", "nce.weight=0", "id_loss.recognizer=null")


@dataclass(frozen=True)
class Variant:
    """A recipe: `changes` of the settings that all variants share."""

    name: str
    title: str
    changes: tuple[str, ...]


VARIANTS = (
    Variant(SELF, "self references only", ("data.paired_ratio=0", *NO_LOSSES)),
    Variant(PAIRS, "pairs", NO_LOSSES),
    Variant(ALIGNED, "pairs and the GT-aligned identity loss", ("nce.weight=0",)),
    Variant(FEW, "the same and InfoNCE, 63 negatives", ("nce.negatives=63",)),
    Variant(MANY, "the same and InfoNCE, 4096 negatives", ()),
)
TITLES = {START: "the start"} | {variant.name: variant.title for variant in VARIANTS}


def chosen_variants(names: Sequence[str]) -> tuple[Variant, ...]:
    """The variants whose name is given or begins so (d: both kinds of d); all where none is given.

    Raises ValueError for a name that is none.
    """
    for name in names:
        if not any(variant.name.startswith(name) for variant in VARIANTS):
            raise ValueError(f"There is no variant {name!r}; known are {', '.join(each.name for each in VARIANTS)}.")
    return tuple(each for each in VARIANTS if not names or each.name.startswith(tuple(names)))
