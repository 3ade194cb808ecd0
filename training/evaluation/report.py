"""Lines of cases to a report: every number of the summary can be made again from the lines it holds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from withanyone_core.metrics.case import METRICS, CaseScores, JudgeInfo, headline_judges
from withanyone_core.metrics.summary import judges_mean, legacy_statistic, statistic, summarize

from .extras import METRICS as EXTRAS
from .plot import Panel, Point, svg
from .published import CITATION, PUBLISHED
from .records import Line

SUBSETS = {"1": "one person", "2": "two people", "3-4": "three and four people", "other": "more people"}
ALL = "all"
TITLES = {
    "sim_gt": "Sim(GT)",
    "sim_ref": "Sim(Ref)",
    "copy_paste": "copy-paste",
    "leakage": "leakage",
    "blending": "blending",
    "detection_rate": "faces found",
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
    "aesthetic": "aesthetic",
}
PLOT = "plot.svg"
Json = dict[str, Any]


def report_of(lines: Sequence[Line], judges: Sequence[JudgeInfo], seed: int, legacy: bool, name: str) -> Json:
    """The whole report: who judged, the summary by subset, and the lines themselves."""
    measured = [line for line in lines if line["scores"]]
    return {
        "name": name,
        "seed": seed,
        "legacy": legacy,
        "judges": [asdict(judge) for judge in judges],
        "counts": {
            "cases": len(lines),
            "measured": len(measured),
            "without_ground_truth": sum(_truth_faces(line) is None for line in measured),
            "with_notes": sum(bool(_notes(line)) for line in measured),
        },
        "summary": summary_of(lines, judges, seed, legacy),
        "cases": sorted(lines, key=lambda line: line["case"]),
    }


def summary_of(lines: Sequence[Line], judges: Sequence[JudgeInfo], seed: int, legacy: bool) -> Json:
    """By subset, and for all cases: each judge's summary, the headline over judges, and the extras."""
    groups = {subset: [line for line in lines if line["subset"] == subset] for subset in SUBSETS}
    groups[ALL] = list(lines)
    summaries = {subset: _subset(group, judges, seed, legacy) for subset, group in groups.items()}
    return {subset: summary for subset, summary in summaries.items() if summary["judges"]}


def _subset(lines: Sequence[Line], judges: Sequence[JudgeInfo], seed: int, legacy: bool) -> Json:
    judged = {judge.name: _scores(lines, judge.name) for judge in judges}
    judged = {name: scores for name, scores in judged.items() if scores}
    headline = scores_of(lines, [judge.name for judge in headline_judges(judges)])
    return {
        "judges": {name: summarize(scores, seed, legacy=legacy).to_json() for name, scores in judged.items()},
        "headline": _headline(headline, seed, legacy) if headline else None,
        "extras": _extras(lines, seed),
    }


def _headline(judged: Sequence[Sequence[CaseScores]], seed: int, legacy: bool) -> Json:
    """Each metric's mean over the judges that no training has seen, on the images that all of them could judge."""
    if legacy:
        pooled = {metric: [score.value(metric) for scores in judged for score in scores] for metric in METRICS}
        return {metric: _plain(legacy_statistic(values)) for metric, values in pooled.items()}
    headline = {metric: _plain(statistic(*judges_mean(judged, metric), seed=seed)) for metric in METRICS}
    return {**headline, "detection_rate": _plain(_detection(judged[0], seed))}


def _detection(scores: Sequence[CaseScores], seed: int) -> Any:
    """Fraction of the expected faces that were found; the judges share one matching, so it is the same for all."""
    faces = [(score.group, float(not identity.lost)) for score in scores for identity in score.identities]
    return statistic([found for _, found in faces], [group for group, _ in faces], seed)


def _extras(lines: Sequence[Line], seed: int) -> Json:
    measured = [line for line in lines if line["scores"]]
    named = {name: [line.get("extras", {}).get(name) for line in measured] for name in EXTRAS}
    statistics = {name: statistic(values, [line["case"] for line in measured], seed) for name, values in named.items()}
    return {name: _plain(value) for name, value in statistics.items() if value is not None}


def scores_of(lines: Sequence[Line], judges: Sequence[str]) -> list[list[CaseScores]]:
    """For each judge its scores of the images that all of these judges could judge; empty without any."""
    common = [line for line in lines if all(judge in line["scores"] for judge in judges)]
    return [_scores(common, judge) for judge in judges] if common else []


def _scores(lines: Sequence[Line], judge: str) -> list[CaseScores]:
    return [CaseScores.from_json(line["scores"][judge]) for line in lines if judge in line["scores"]]


def _plain(value: Any) -> Json | None:
    return None if value is None else asdict(value)


def _truth_faces(line: Line) -> int | None:
    return next(iter(line["scores"].values()))["truth_faces"]


def _notes(line: Line) -> list[str]:
    """What is to be said about a case, each sentence once."""
    own = [*line.get("notes", ()), *(f"{name}: {why}" for name, why in line.get("refused", {}).items())]
    return list(dict.fromkeys([*own, *(note for scores in line["scores"].values() for note in scores["notes"])]))


def markdown(report: Json) -> str:
    """The report for people: tables by subset, what was not measured and why, and the plot."""
    counts = report["counts"]
    parts = [
        f"# {report['name']}",
        f"{counts['measured']} of {counts['cases']} cases measured, {counts['without_ground_truth']} of them without "
        f"ground truth; a case that was not measured is in no number below. Seed {report['seed']}. "
        + _how(report["legacy"]),
        *_headline_part(report),
        *_judges_part(report),
        f"## Likeness against copying\n\n![Sim(GT) against copy-paste]({PLOT})\n\nGrey: {CITATION}. Those are trimmed "
        "means of ArcFace, FaceNet and AdaFace by the released evaluator: landmarks, no like-for-like comparison.",
        *_remarks(report["cases"]),
        _LEGEND,
    ]
    return "\n\n".join(parts) + "\n"


_LEGEND = """## What the columns say

* Sim(GT), Sim(Ref): cosine of a generated face with the person's face in the ground truth, and in the reference photo.
  A person who was lost counts as 0.
* copy-paste: (angle to ground truth - angle to reference) / (angle between the two). +1 repeats the reference photo,
  -1 is the ground truth, 0 is as far from one as from the other. Only for people who were found.
* leakage: how much each person's face looks like the other people's references; blending: like their ground truth.
* faces found: fraction of the expected people to whom a face in the image could be given."""


def _how(legacy: bool) -> str:
    if legacy:
        return (
            "Legacy arithmetic: trimmed means and independent matchings as in the released evaluator; lost people do "
            "not count, so these numbers are for comparison with published tables only."
        )
    return "Means over cases with 95 % bootstrap intervals in brackets."


def _headline_part(report: Json) -> Iterator[str]:
    names = [judge["name"] for judge in report["judges"] if not judge["trained_with"]]
    if not names:
        yield "**No headline: every judge was used in training. Add one that was not.**"
        return
    yield f"## Headline: {'mean of ' if len(names) > 1 else ''}{', '.join(names)}"
    yield _table(
        report["summary"], lambda summary: {**(summary["headline"] or {}), **summary["extras"]}, report["legacy"]
    )


def _judges_part(report: Json) -> Iterator[str]:
    infos = [JudgeInfo(**judge) for judge in report["judges"]]
    for info in infos:
        if len(headline_judges(infos)) == 1 and not info.trained_with:
            continue  # the headline has said it
        warning = "\n\nA training loss has used this judge, so its numbers flatter." if info.trained_with else ""
        yield f"## {info.label}{warning}"
        yield _table(report["summary"], lambda summary, name=info.name: _of_judge(summary, name), report["legacy"])


def _of_judge(summary: Json, name: str) -> Json:
    found = summary["judges"].get(name)
    return {} if found is None else found["metrics"]


def _table(summaries: Mapping[str, Json], values_of: Any, legacy: bool) -> str:
    values = {subset: values_of(summary) for subset, summary in summaries.items()}
    columns = [name for name in TITLES if any(row.get(name) for row in values.values())]
    rows = [["", "cases", *(TITLES[name] for name in columns)], ["---"] * (len(columns) + 2)]
    for subset, row in values.items():
        images = max(summary["images"] for summary in summaries[subset]["judges"].values())
        cells = [_cell(row.get(name), legacy) for name in columns]
        rows.append([SUBSETS.get(subset, subset), str(images), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Json | None, legacy: bool) -> str:
    if value is None:
        return "not computable"
    if legacy or value.get("low") is None:
        return f"{value['mean']:.3f}"
    missing = f", {value['n_missing']} without" if value["n_missing"] else ""
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]{missing}"


def _remarks(lines: Sequence[Line]) -> Iterator[str]:
    lost = [f"* {line['case']}: {line['fault']}" for line in lines if line.get("fault")]
    if lost:
        yield f"## Not measured: {len(lost)}\n\n" + "\n".join(lost)
    noted = [f"* {line['case']}: {' '.join(_notes(line))}" for line in lines if not line.get("fault") and _notes(line)]
    if noted:
        yield f"## Measured with remarks: {len(noted)}\n\n" + "\n".join(noted)


def plot(report: Json) -> str:
    """SVG of Sim(GT) against copy-paste, one panel for each of the paper's subsets that has cases."""
    panels = []
    for subset, published in PUBLISHED.items():
        summary = report["summary"].get(subset)
        if summary is None:
            continue
        point = _point(report["name"], summary["headline"] or {})
        grey = tuple(Point(row.method, row.truth, row.copy_paste) for row in published)
        panels.append(Panel(SUBSETS[subset], (point,) if point else (), grey))
    return svg(panels, f"Grey: {CITATION}. Lines: 95 % intervals.")


def _point(name: str, headline: Json) -> Point | None:
    x, y = headline.get("sim_gt"), headline.get("copy_paste")
    if x is None or y is None:
        return None
    return Point(name, x["mean"], y["mean"], *(_interval(value) for value in (x, y)))


def _interval(value: Json) -> tuple[float, float] | None:
    return None if value.get("low") is None else (value["low"], value["high"])
