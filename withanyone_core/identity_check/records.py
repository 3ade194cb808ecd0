"""The report as JSON: written for programs, and read again as a baseline."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..version import VERSION
from .calibration import Calibration, Nearness
from .summary import Baseline, Row
from .values import NAMES, Checked, Finding, ImageFile, People, Recognizer

FORMAT, FORMAT_VERSION = "withanyone identity check", 2
DEFINITIONS = {
    "kept": "the face in the person's place is theirs",
    "drifted": "there is a face, and it is nobody's who is expected",
    "swapped": "it is another expected person's",
    "dominated": "it is another expected person's, whose face is on several",
    "blended": "it lies between the person and another expected one",
    "pasted": "theirs, but nearer to one photo in pose, expression and light than their photos are to each other",
    "lost": "there is no face",
    "extra person": "a face that belongs to nobody who is expected",
    "unclear": "the interval does not decide",
}
SOURCES = (
    "drift, swap, dominance, blending: MultiBind, arXiv 2603.21937",
    "pasted faces are registered with the photos: Evangelidis and Psarakis 2008, Baker and Matthews 2004",
    "copy-paste, lost and extra faces: WithAnyone and its MultiID-Bench, arXiv 2510.14975",
)
CONDITIONING = (
    "These models judge. To condition the released WithAnyone adapter, embeddings of antelopev2 are needed, which "
    "insightface licenses for non-commercial research only."
)


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that was found.

    unread  what could not be read or checked: the image's label and why
    """

    recognizer: Recognizer
    people: People
    calibration: Calibration
    checked: tuple[Checked, ...]
    rows: tuple[Row, ...]
    unread: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        return all(row.passes for row in self.rows)


def report_json(report: Report) -> dict[str, Any]:
    """The whole report in plain lists, numbers and strings."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "made_by": f"withanyone {VERSION}",
        "passes": report.passes,
        "recognizer": recognizer_json(report.recognizer),
        "definitions": DEFINITIONS,
        "sources": list(SOURCES),
        "calibration": calibration_json(report.calibration, report.people),
        "summary": [_row(row) for row in report.rows],
        "images": [checked_json(each) for each in report.checked],
        "unread": [{"image": label, "reason": reason} for label, reason in report.unread],
        "notes": list(report.notes),
    }


def recognizer_json(recognizer: Recognizer) -> dict[str, Any]:
    return {
        "name": recognizer.name,
        "models": dict(recognizer.parts),
        "settings": dict(recognizer.settings),
        "trained_with": recognizer.trained_with,
        "remark": CONDITIONING,
    }


def calibration_json(calibration: Calibration, people: People) -> dict[str, Any]:
    """The thresholds, for all and for each person."""
    threshold, low, high = calibration.threshold
    pairs = calibration.measured_on
    return {
        "threshold": {"similarity": threshold, "low": low, "high": high},
        "pairs_of_one_person": pairs[0],
        "pairs_of_two_people": pairs[1],
        "deviation": {
            "same": calibration.same_sd,
            "other": calibration.other_sd,
            "stranger": calibration.stranger_sd,
        },
        "people": [
            {
                "name": person.name,
                "photos": [str(photo.path) for photo in person.photos],
                "expected_similarity": float(calibration.expected[index, index]),
                "copy_by_embedding": _nearness(calibration.nearest, index),
                "copy_by_look": None if calibration.look is None else _nearness(calibration.look, index),
            }
            for index, person in enumerate(people.people)
        ],
    }


def _nearness(nearness: Nearness, person: int) -> dict[str, Any]:
    """Bounds of the nearest photo: cosines, or pixels of ArcFace's crop between looks, which are nearer if lower."""
    kept, pasted = nearness.bounds(person)
    return {"copies_show": nearness.tells_copies(person), "kept_up_to": kept, "pasted_from": pasted}


def checked_json(checked: Checked) -> dict[str, Any]:
    return {
        "variant": checked.image.variant,
        "name": checked.image.name,
        "size_px": list(checked.size_px),
        "findings": [asdict(finding) for finding in checked.findings],
        "notes": list(checked.notes),
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all; refuses NaN, which is no JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_baseline(path: Path, recognizer: Recognizer) -> Baseline:
    """The findings of an earlier report.json.

    Raises ValueError where it is something else, of another version, or of another recognizer.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"The baseline {path} cannot be read as JSON: {error}") from error
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ValueError(f"The baseline {path} is no report.json of this check.")
    if stored.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"The baseline {path} is a report of version {stored.get('version')}; this program reads version "
            f"{FORMAT_VERSION}. Check the older images again and give the new report."
        )
    try:
        if stored["recognizer"]["name"] != recognizer.name:
            raise ValueError(
                f"The baseline {path} was made with {stored['recognizer']['name']}, this check with "
                f"{recognizer.name}; their similarities cannot be compared. Use the same --recognizer."
            )
        return _baseline(_images(stored["images"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"The baseline {path} is damaged: {type(error).__name__} {error}.") from error


def _images(lines: Sequence[Mapping[str, Any]]) -> list[Checked]:
    return [
        Checked(
            ImageFile(line["variant"], line["name"], Path(line["name"])),
            tuple(line["size_px"]),
            tuple(Finding(**finding) for finding in line["findings"]),
        )
        for line in lines
    ]


def _baseline(checked: Sequence[Checked]) -> Baseline:
    values: dict[tuple[str, str], dict[str, tuple[float, float | None]]] = {}
    for each in checked:
        for finding in each.findings:
            of_person = values.setdefault((each.image.variant, finding.person), {})
            of_person[each.image.name] = (float(finding.is_fault), finding.similarity)
    return Baseline(values)


def _row(row: Row) -> dict[str, Any]:
    fraction, low, high = row.faults
    return {
        "variant": row.variant,
        "person": row.person,
        "images": row.images,
        "counts": {name: row.counts[name] for name in NAMES if name in row.counts},
        "faults": {"fraction": fraction, "low": low, "high": high},
        "similarity": None if row.similarity is None else asdict(row.similarity),
        "fails": row.fails,
        "worse": list(row.worse),
    }
