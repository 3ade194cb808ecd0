"""What was measured, picked and compared, for JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..metrics.case import METRICS, JudgeInfo
from ..metrics.summary import summarize
from .comparing import Comparison
from .measuring import Measured
from .picking import PickBy

TRAINED_WITH_WORDS = "same family as the training loss: not a headline figure"


def numbers(measured: Measured, seed: int = 0) -> dict[str, Any]:
    """Everything that was measured, for JSON.

    `images` are the lines that `CaseScores.from_json` reads, and `summary` is `summarize` of them; `likeness` says
    the same as their `likeness_ref`, with the people's names.
    """
    return {
        "judge": _judge_numbers(measured.judge),
        "people": list(measured.people),
        "compared_with": measured.against or None,
        "images": [score.to_json() for score in measured.scores],
        "likeness": [
            {
                "image": score.name,
                "lost": [measured.people[identity] for identity in score.lost],
                "face_of": {
                    person: dict(zip(measured.people, row, strict=True))
                    for person, row in zip(measured.people, score.likeness_ref, strict=True)
                },
            }
            for score in measured.scores
        ],
        "summary": summarize(measured.scores, seed).to_json(),
        "diagnosis": [
            {"image": each.image.name, "findings": [asdict(finding) for finding in each.findings]}
            for each in measured.checked
        ],
        "models": dict(measured.licences),
        "notes": list(measured.notes),
    }


def pick_numbers(
    measured: Measured, by: PickBy, ranked: Sequence[tuple[int, float | None]], keep: int
) -> dict[str, Any]:
    """What `rank` found, for JSON: a line an image, best first. `index` counts from 0, `rank` from 1."""
    return {
        "score": by,
        "judge": _judge_numbers(measured.judge),
        "compared_with": measured.against or None,
        "kept": [index for index, _ in ranked[:keep]],
        "images": [
            {
                "rank": rank,
                "index": index,
                "kept": rank <= keep,
                "score": value,
                "lost": [measured.people[identity] for identity in measured.scores[index].lost],
                "means": {metric: measured.scores[index].value(metric) for metric in METRICS},
                "notes": list(measured.scores[index].notes),
            }
            for rank, (index, value) in enumerate(ranked, start=1)
        ],
        "notes": list(measured.notes),
    }


def comparison_numbers(
    names: tuple[str, str], batches: tuple[Measured, Measured], rows: Sequence[Comparison], seed: int
) -> dict[str, Any]:
    """What `compare` found, for JSON, with all that was measured of both batches."""
    return {
        "first": names[0],
        "second": names[1],
        "seed": seed,
        "metrics": {
            row.metric: {
                "first": None if row.first is None else asdict(row.first),
                "second": None if row.second is None else asdict(row.second),
                "second_minus_first": None if row.change is None else asdict(row.change),
                "paired": row.paired,
            }
            for row in rows
        },
        "batches": [{"name": name, **numbers(batch, seed)} for name, batch in zip(names, batches, strict=True)],
    }


def _judge_numbers(judge: JudgeInfo) -> dict[str, Any]:
    return {
        "name": judge.name,
        "trained_with": judge.trained_with,
        "remark": TRAINED_WITH_WORDS if judge.trained_with else "",
    }
