"""What people chose on the comparison page, and whether the metrics agree with them."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from withanyone_core.metrics.case import JudgeInfo, headline_judges
from withanyone_core.metrics.summary import judges_mean, statistic

from .comparison import QUESTIONS, Key
from .report import TITLES, scores_of

CHOICES = ("left", "right", "same")
METRICS = ("sim_gt", "sim_ref", "copy_paste", "leakage")
FEWEST_CASES = 4  # under which a correlation has no interval
Votes = dict[str, dict[str, list[float]]]  # by question and case: 1 for A, 0 for B, 0.5 for neither
Json = dict[str, Any]


def read_choices(paths: Sequence[Path], key: Key) -> Votes:
    """The choices of one or more people, put back to the folders they chose.

    Raises FileNotFoundError and ValueError for files that are something else or of another page.
    """
    votes: Votes = {}
    for path in paths:
        for case, question, choice in _choices(path, key):
            vote = 0.5 if choice == "same" else float((choice == "left") == (key.left[case] == "A"))
            votes.setdefault(question, {}).setdefault(case, []).append(vote)
    if not votes:
        raise ValueError(f"{', '.join(path.name for path in paths)} holds no choice yet.")
    return votes


def preference_report(votes: Votes, key: Key, reports: Sequence[Json], seed: int) -> Json:
    """The fraction of choices for A with its interval and, given both reports, the correlation with metrics."""
    differences = _differences(*reports) if reports else {}
    return {
        "first": key.first,
        "second": key.second,
        "seed": seed,
        "questions": {
            question: {
                **_fraction(by_case, seed),
                "correlations": {metric: _correlation(by_case, by_metric) for metric, by_metric in differences.items()},
            }
            for question, by_case in votes.items()
        },
    }


def preference_markdown(report: Json) -> str:
    """The same for people."""
    parts = [
        f"# A: {report['first']}, B: {report['second']}",
        "Fraction of choices for A: 'cannot tell' counts as half, the 95 % interval resamples whole cases.",
        _table(["question", "for A", "for B", "cannot tell", "cases", "fraction for A"], _fraction_rows(report)),
    ]
    rows = list(_correlation_rows(report))
    if rows:
        parts += [
            "## Do the metrics agree?\n\nCorrelation over cases of the choice (1 for A, 0 for B) with the metric of A "
            "minus that of B, with 95 % intervals by Fisher's transformation. A good metric of likeness has a positive "
            "one with 'likeness'; copy-paste, of which less is better, a negative one with 'copying'. The paper found "
            "Pearson 0.44 for copy-paste and 0.33 for identity between ranks of five methods by ten people.",
            _table(["question", "metric", "cases", "Spearman", "Pearson", "Kendall"], rows),
        ]
    else:
        parts.append("For the correlation with metrics give the two reports: --reports A/report.json B/report.json.")
    return "\n\n".join(parts) + "\n"


def read_report(path: Path) -> Json:
    """A report.json of this program. Raises FileNotFoundError or ValueError where it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"The report {path} does not exist; evaluate that folder first.")
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(report, dict) or not {"judges", "cases"} <= report.keys():
        raise ValueError(f"{path} is not a report.json of this program.")
    return report


def _choices(path: Path, key: Key) -> Iterator[tuple[str, str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"The choices {path} do not exist; download them from the page first.")
    try:
        choices_file = json.loads(path.read_text(encoding="utf-8-sig"))
        page, choices = (
            choices_file["page"],
            [(one["case"], one["question"], one["choice"]) for one in choices_file["choices"]],
        )
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not a file of choices downloaded from the page ({error!r}).") from error
    if page != key.page:
        raise ValueError(f"{path} was made on another page ({page}); the key in --out is that of page {key.page}.")
    for case, question, choice in choices:
        if case not in key.left or question not in QUESTIONS or choice not in CHOICES:
            raise ValueError(f"{path} has a choice that the page does not offer: {case}, {question}, {choice}.")
        yield case, question, choice


def _fraction(by_case: Mapping[str, Sequence[float]], seed: int) -> Json:
    flat = [(case, vote) for case, votes in by_case.items() for vote in votes]
    counts = Counter(vote for _, vote in flat)
    fraction = statistic([vote for _, vote in flat], [case for case, _ in flat], seed)
    if fraction is None:
        raise ValueError("There is no choice to count.")
    counted = {"for_a": counts[1.0], "for_b": counts[0.0], "cannot_tell": counts[0.5], "cases": len(by_case)}
    return {**counted, "fraction_for_a": asdict(fraction)}


def _differences(first: Json, second: Json) -> dict[str, dict[str, float]]:
    """By metric and case: the headline value in A minus that in B, where both have one."""
    values = [{metric: _by_case(report, metric) for metric in METRICS} for report in (first, second)]
    return {
        metric: {
            case: value - values[1][metric][case]
            for case, value in values[0][metric].items()
            if case in values[1][metric]
        }
        for metric in METRICS
    }


def _by_case(report: Json, metric: str) -> dict[str, float]:
    judges = [judge.name for judge in headline_judges([JudgeInfo(**judge) for judge in report["judges"]])]
    judged = scores_of(report["cases"], judges)
    if not judged:
        return {}
    means, _ = judges_mean(judged, metric)
    names = sorted(score.name for score in judged[0])
    return {name: mean for name, mean in zip(names, means, strict=True) if mean is not None}


def _correlation(by_case: Mapping[str, Sequence[float]], by_metric: Mapping[str, float]) -> Json | None:
    """Over cases, which are independent where the people who choose are not; None for too few or without spread."""
    from scipy.stats import kendalltau, pearsonr, rankdata

    cases = sorted(by_case.keys() & by_metric.keys())
    x = [sum(by_case[case]) / len(by_case[case]) for case in cases]
    y = [by_metric[case] for case in cases]
    if len(cases) < FEWEST_CASES or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    found = {"spearman": pearsonr(rankdata(x), rankdata(y)), "pearson": pearsonr(x, y)}
    named = {name: _with_interval(result) for name, result in found.items()}
    return {"n": len(cases), **named, "kendall": _value(kendalltau(x, y))}


def _with_interval(result: Any) -> Json:
    low, high = result.confidence_interval(0.95)
    return {"value": _value(result), "low": float(low), "high": float(high), "p": float(result.pvalue)}


def _value(result: Any) -> float:
    # Any: scipy's results are classes that it makes at run time.
    return float(result.statistic)


def _fraction_rows(report: Json) -> Iterator[list[str]]:
    for question, found in report["questions"].items():
        counts = [str(found[name]) for name in ("for_a", "for_b", "cannot_tell", "cases")]
        yield [QUESTIONS[question], *counts, _bracketed(found["fraction_for_a"], "mean")]


def _correlation_rows(report: Json) -> Iterator[list[str]]:
    for question, found in report["questions"].items():
        for metric, value in found["correlations"].items():
            if value is None:
                yield [question, TITLES[metric], "too few, or all alike", "", "", ""]
                continue
            shown = [_bracketed(value[name], "value") for name in ("spearman", "pearson")]
            yield [question, TITLES[metric], str(value["n"]), *shown, f"{value['kendall']:.3f}"]


def _bracketed(value: Json, name: str) -> str:
    if value["low"] is None:
        return f"{value[name]:.3f}"
    return f"{value[name]:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _table(head: Sequence[str], rows: Any) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
