"""report.md of a run: what it brought, whether it only copies, and the images to judge that by eye."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ..evaluation.records import write_text
from .changed_settings import readable, until
from .curves import curves_svg, smoothed
from .looking import PREVIEWS
from .records import read_rows
from .session import Session
from .step import BIN_NAMES

CURVES, REPORT = "curves.svg", "report.md"
_NAMES = {"sim_gt": "Sim(GT)", "sim_ref": "Sim(Ref)", "copy_paste": "copy-paste", "leakage": "leakage"}
_LEGEND = """* Sim(GT), Sim(Ref): cosine of a painted face with the held-out photo and with the reference photo.
* copy-paste: +1 repeats the reference photo, -1 is the held-out photo, 0 is as far from one as from the other.
* leakage: how much each person looks like the others' references.
* validation: flow loss on held-out photos with the same noise every time.
* cosines and identity loss of the curves are the training recognizer's, which training teaches to be pleased; the table
  is the judges'."""


def write_report(session: Session, result: Path, step: int, stopped: str) -> Path:
    """Writes curves.svg and report.md into the run's folder.

    step     the checkpoint that the result was made from
    stopped  why the run ended early, or empty
    """
    folder = session.run
    write_text(folder / CURVES, curves_svg(_panels(folder)))
    measured = session.progress.measured
    first = measured[0] if measured else {}
    chosen = next((look for look in reversed(measured) if look["step"] <= step), first)
    what = "the adapter" if session.trained.person is None else f"{session.trained.person.identity.name} as an identity"
    parts = [
        f"# {folder.name}",
        f"{result.name} is {what} after {step} of {session.settings.optim.steps} steps"
        + (f". The run stopped at step {session.progress.step}: {stopped}." if stopped else "."),
        *_table(first, chosen),
        *_remarks(session, first, chosen, step),
        f"## Curves\n\n![losses and likeness by step]({CURVES})",
        *_images(session, step),
        f"## What the words say\n\n{_LEGEND}",
    ]
    path = folder / REPORT
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def _table(first: Mapping[str, Any], chosen: Mapping[str, Any]) -> list[str]:
    if not first:
        return ["Nothing was measured: the cache holds no held-out photos."]
    rows = [f"| | step {first['step']} | step {chosen['step']} |", "|---|---|---|"]
    for name, title in _NAMES.items():
        if first.get(name) or chosen.get(name):
            rows.append(f"| {title} | {_number(first.get(name))} | {_number(chosen.get(name))} |")
    means = [sum(look["validation"]) / len(look["validation"]) for look in (first, chosen)]
    rows.append(f"| validation | {means[0]:.4f} | {means[1]:.4f} |")
    return ["\n".join(rows), "Means over the held-out photos with 95 % bootstrap intervals in brackets."]


def _number(value: Mapping[str, Any] | None) -> str:
    if not value:
        return "-"
    interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value['mean']:.3f}{interval}"


def _remarks(session: Session, first: Mapping[str, Any], chosen: Mapping[str, Any], step: int) -> list[str]:
    remarks = []
    if session.instruments is None:
        remarks.append("No judge was named (validation.judges), so likeness and copying were not measured.")
    elif first.get("sim_gt") and chosen.get("sim_gt"):
        gained = chosen["sim_gt"]["mean"] - first["sim_gt"]["mean"]
        if gained <= 0:
            instead = "the adapter as it came" if session.trained.person is None else "an identity made from photos"
            remarks.append(f"Training did not help: Sim(GT) changed by {gained:+.3f}. Use {instead}.")
    if session.progress.skipped:
        remarks.append(f"{session.progress.skipped} steps were skipped because their loss was no number.")
    for change in until(session.progress.changes, step):
        remarks.append(f"After step {change['step']} the run was resumed with {readable(change)}.")
    return [f"* {remark}" for remark in remarks]


def _images(session: Session, step: int) -> list[str]:
    looks = sorted(path.name for path in (session.run / PREVIEWS).glob("step-*"))
    at = [name for name in looks if int(name.removeprefix("step-")) <= step]
    if not at:
        return []
    shown = list(dict.fromkeys([at[0], at[-1]]))
    rows = ["| held-out photo | reference | " + " | ".join(shown) + " |", "|---" * (2 + len(shown)) + "|"]
    for scene in session.scenes:
        references = " ".join(
            f"![reference]({PREVIEWS}/truth/{scene.name}_reference_{number}.png)"
            for number in range(1, len(scene.sample.people) + 1)
        )
        painted = " | ".join(f"![{name}]({PREVIEWS}/{name}/{scene.name}.png)" for name in shown)
        rows.append(f"| ![photo]({PREVIEWS}/truth/{scene.name}.png) | {references} | {painted} |")
    return ["## Previews\n\n" + "\n".join(rows)]


def _panels(folder: Path) -> dict[str, dict[str, Sequence[tuple[float, float]]]]:
    steps, looks = read_rows(folder / "metrics.csv"), read_rows(folder / "looks.csv")

    def by_step(*names: str) -> dict[str, Sequence[tuple[float, float]]]:
        return {name: smoothed(_series(steps, name)) for name in names}

    def by_look(*names: str) -> dict[str, Sequence[tuple[float, float]]]:
        return {_NAMES.get(name, name): _series(looks, name) for name in names}

    return {
        "likeness to the held-out photos, by judges": by_look("sim_gt", "sim_ref", "copy_paste"),
        "flow loss on held-out photos": by_look("validation"),
        "losses": by_step("flow", "id", "nce"),
        "identity loss by noise level": by_step(*BIN_NAMES),
        "cosines, by the training recognizer": by_step("cos_target", "cos_reference", "cos_negative"),
        "length of the gradient": by_step("grad_norm"),
        "learning rate": by_step("lr"),
    }


def _series(rows: Sequence[Mapping[str, str]], name: str) -> list[tuple[float, float]]:
    points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
    return [point for point in points if isfinite(point[1])]
