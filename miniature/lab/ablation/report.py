"""ABLATION.md: the table, what the slider does, and the paper's expectations one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from .estimates import Estimate
from .paper import CITATION, EXPECTATIONS, LEAST, METRICS, Expectation, verdict
from .results import Results
from .variants import PAIRS, SEEDS, SELF, START, TITLES, VARIANTS

TITLE_OF = {"sim_gt": "Sim(GT)", "sim_ref": "Sim(Ref)", "copy_paste": "copy-paste", "found": "faces found"}
COPIED_OF = {"copied_expression": "expression", "copied_direction": "direction"}
# What stands between these lines is written by a person, and stays as it is when the report is rewritten.
BY_HAND = "<!-- by hand, kept when this page is rewritten -->"
END_BY_HAND = "<!-- end of what is written by hand -->"
NOTHING_BY_HAND = "Nothing has been remarked yet."


def markdown(results: Results, image: str, remarks: str = NOTHING_BY_HAND) -> str:
    """The whole page.

    image  file name of the plot
    remarks  what a person has written between the marks
    """
    parts = [
        "# What each part of training brings, in the small world",
        _how(results),
        "## Pairs, losses, negatives\n\n" + "\n".join(_table(results)),
        "\n".join(_seeds(results)),
        f"## The slider\n\n![Sim(GT) against copy-paste]({image})\n\n" + "\n".join(_sliders(results)),
        f"## Against the paper's Table 3\n\n{_INTRODUCTION}\n\n" + "\n".join(_expectations(results)),
        "\n".join(_sentences(results)),
        f"## What is copied\n\n{_COPYING}\n\n" + "\n".join(_copied(results)),
        f"## Remarks\n\n{BY_HAND}\n{remarks}\n{END_BY_HAND}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def remarks_of(page: Path) -> str:
    """What a person wrote into an earlier page; a placeholder without one."""
    if not page.is_file():
        return NOTHING_BY_HAND
    _, mark, rest = page.read_text(encoding="utf-8").partition(BY_HAND)
    return rest.partition(END_BY_HAND)[0].strip() if mark else NOTHING_BY_HAND


_INTRODUCTION = f"""{CITATION}: the paper takes parts away from the whole recipe, this page adds them one by one;
a change is what the part brings. Ours agrees where its interval excludes 0 on the paper's side; changes under {LEAST}
count as none. The paper's figures are means of three recognizers on photographs of two people, after some 100,000 steps
of 32 images, so only the direction of a change is compared, never its size."""


_COPYING = """Of faces whose photo looks otherwise than their scene, the part that looks as in the photo, read by the
classifiers; half of the captions leave expressions and directions out. References that are the target itself teach an
adapter to copy them, pairs teach it not to, if the change's interval excludes 0."""


def _how(results: Results) -> str:
    line = results.any
    shared = line["shared"]
    images = len(line["rows"][0]["sim_gt"])
    seeds = max(len(results.seeds(each.name)) for each in VARIANTS)
    missing = sum(max(0, len(SEEDS) - len(results.seeds(each.name))) for each in VARIANTS)
    words = [
        f"Written by `python miniature/lab/ablate.py` from runs on {line['machine']}, the latest of "
        f"{_latest(results)}. "
        f"Every adapter started from {shared['start_words']}, was trained by `training/finetune.py` for "
        f"{shared['steps']} steps of {shared['batch']} images ({shared['people']} people, {shared['photos']} photos) "
        f"and generated {images} images of one and of two people whom nobody was trained on, from one photo each, in "
        f"{shared['sampler_steps']} steps of the sampler. The judge, whom no loss knows, compares each face with the "
        "renderer's own image of that scene (GT) and with the photo (Ref); a person who was lost counts as 0.",
        f"Intervals are 95 %, from resampling images and seeds; with {seeds} seeds they are a little too narrow. "
        f"The {line['slider']} is {line['usual']:g} where nothing else is said.",
    ]
    if missing:
        words.append(f"**{missing} runs are still to be made: the same command resumes.**")
    if results.left_out:
        words.append(f"Results that are in no number, being of other settings, models or data: {results.left_out}.")
    return "\n\n".join(words)


def _table(results: Results) -> Iterator[str]:
    yield f"| | trained with | seeds | {' | '.join(TITLE_OF.values())} |"
    yield "|---|---|---:|" + "---:|" * len(TITLE_OF)
    for name in results.variants:
        label, seeds = ("", "") if name == START else (name, str(len(results.seeds(name))))
        cells = [_cell(results.estimate(name, metric)) for metric in TITLE_OF]
        yield f"| {label} | {TITLES[name]} | {seeds} | {' | '.join(cells)} |"
    alike = _alike(results)
    if alike is not None:
        yield f"| | the truth itself | | 1.000 | {alike:.3f} | -1.000 | |"


def _seeds(results: Results) -> Iterator[str]:
    """Each seed by itself: how far they are apart says what the table's differences are worth."""
    yield "Each seed's Sim(GT) and copy-paste:\n"
    for name in results.variants:
        if name == START:
            continue
        runs = [
            (results.runs(name, "sim_gt")[seed], results.runs(name, "copy_paste")[seed]) for seed in results.seeds(name)
        ]
        yield f"* {name}: " + ", ".join(f"{_mean(truth)} and {_mean(copied)}" for truth, copied in runs)


def _sliders(results: Results) -> Iterator[str]:
    """Sim(GT) and copy-paste at each value of the slider."""
    yield f"Sim(GT) / copy-paste by {results.any['slider']}:\n"
    yield f"| | {' | '.join(f'{value:g}' for value in results.sliders)} |"
    yield "|---|" + "---:|" * len(results.sliders)
    for name in results.variants:
        cells = []
        for value in results.sliders:
            pair = [results.estimate(name, metric, value) for metric in ("sim_gt", "copy_paste")]
            cells.append(" / ".join("-" if each is None else f"{each.value:.3f}" for each in pair))
        yield f"| {TITLES[name] if name == START else name} | {' | '.join(cells)} |"


def _expectations(results: Results) -> Iterator[str]:
    yield "| part | | ours | paper | |"
    yield "|---|---|---:|---:|---|"
    for expectation in EXPECTATIONS:
        for metric in METRICS:
            ours, published = (
                results.change(expectation.without, expectation.with_it, metric),
                expectation.published(metric),
            )
            words = (
                f"{expectation.part} ({expectation.without} to {expectation.with_it})" if metric == METRICS[0] else ""
            )
            yield f"| {words} | {TITLE_OF[metric]} | {_change(ours)} | {published:+.3f} | {verdict(ours, published)} |"


def _copied(results: Results) -> Iterator[str]:
    yield f"| | {' | '.join(COPIED_OF.values())} |"
    yield "|---|---:|---:|"
    for name in results.variants:
        cells = [_cell(results.estimate(name, measure)) for measure in COPIED_OF]
        yield f"| {TITLES[name]} | {' | '.join(cells)} |"
    changes = [_change(results.change(SELF, PAIRS, measure)) for measure in COPIED_OF]
    yield f"| change by pairs ({SELF} to {PAIRS}) | {' | '.join(changes)} |"


def _sentences(results: Results) -> Iterator[str]:
    for expectation in EXPECTATIONS:
        yield f"* {_sentence(results, expectation)}"


def _sentence(results: Results, expectation: Expectation) -> str:
    """One sentence made of its verdicts."""
    said: dict[str, list[str]] = {}
    for metric in METRICS:
        ours = results.change(expectation.without, expectation.with_it, metric)
        said.setdefault(verdict(ours, expectation.published(metric)).partition(":")[0], []).append(TITLE_OF[metric])
    if set(said) == {"not measured"}:
        return f"{expectation.part[0].upper()}{expectation.part[1:]}: not measured yet."
    order = ("agrees", "differs", "indistinguishable from no change", "not measured")
    words = {
        "agrees": "agrees with the paper in",
        "differs": "does not agree in",
        "indistinguishable from no change": "was indistinguishable from no change in",
        "not measured": "was not measured in",
    }
    parts = [f"{words[key]} {_listed(said[key])}" for key in order if key in said]
    part, caveat = (text[0].upper() + text[1:] for text in (expectation.part, expectation.caveat))
    return f"{part}: {'; '.join(parts)}. ({caveat}.)"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _cell(found: Estimate | None) -> str:
    return "-" if found is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _change(found: Estimate | None) -> str:
    return "-" if found is None else f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _alike(results: Results) -> float | None:
    lines = results.lines.get(START, ())
    known = [value for line in lines for value in line["truth_and_reference"] if value is not None]
    return sum(known) / len(known) if known else None


def _latest(results: Results) -> str:
    return max(line["date"] for lines in results.lines.values() for line in lines)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "-"
