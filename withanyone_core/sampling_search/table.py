"""What a search spent, tried and found, as a table in Markdown."""

from collections.abc import Sequence

from .rules import LOST, People, PersonScore, Rules
from .search import OUTCOMES, SearchResult, Trial


def batch_text(
    results: Sequence[SearchResult],
    rules: Rules,
    names: Sequence[str],
    steps: tuple[int, int],
    notes: Sequence[str] = (),
) -> str:
    """The tables of all images of a batch, numbered where there are several."""
    tables = [table_text(result, rules, names, steps, notes) for result in results]
    if len(tables) == 1:
        return tables[0]
    return "\n\n".join(f"Image {number} of the batch\n{table}" for number, table in enumerate(tables, start=1))


def table_text(
    result: SearchResult,
    rules: Rules,
    names: Sequence[str],
    steps: tuple[int, int],
    notes: Sequence[str] = (),
) -> str:
    """A line for each draw, and before them what came of it.

    names  of the people
    steps  where draws were judged and possibly stopped, and how many there are in all
    """
    finished = sum(trial.final is not None for trial in result.trials)
    cuts = f"judged after step {steps[0]} of {steps[1]}"
    head = [
        f"Ended: {OUTCOMES[result.outcome]}.",
        f"Kept: draw {result.trials.index(result.best) + 1}, seed {result.best.seed}"
        f"{'' if result.best.final else ', the clean estimate of a draw that was not finished'}.",
        f"Window of similarity {rules.lowest:g} to {rules.highest:g}, copy-paste at most {rules.copy_paste:g}.",
        f"{len(result.trials)} draws, {cuts}, {finished} finished; {result.forwards} forwards.",
        *notes,
    ]
    columns = ["draw", "seed", *(f"{name}: weight, estimate, final" for name in names), "worst", "forwards", "ending"]
    lines = [_line(columns), _line(["---"] * len(columns))]
    lines += [_line(_cells(number, trial, rules, steps)) for number, trial in enumerate(result.trials, start=1)]
    return "\n".join([*head, "", *lines])


def _cells(number: int, trial: Trial, rules: Rules, steps: tuple[int, int]) -> list[str]:
    worst = rules.order(trial.people)[0]
    ending = trial.ending if trial.final else f"step {steps[0]} of {steps[1]}, {trial.ending}"
    return [
        str(number),
        str(trial.seed),
        *(
            f"{weight:.3g}, {_score(before)}, {_final(trial.final, person)}"
            for person, (weight, before) in enumerate(zip(trial.weights, trial.estimate, strict=True))
        ),
        "inside" if worst == 0.0 else "lost" if worst >= LOST else f"{worst:.3f} outside",
        str(trial.forwards),
        ending,
    ]


def _final(people: People | None, person: int) -> str:
    return "-" if people is None else _score(people[person])


def _score(person: PersonScore) -> str:
    if person.lost:
        return "lost"
    copied = "unknown" if person.copy_paste is None else f"{person.copy_paste:.2f}"
    return f"{person.similarity:.3f} (copy-paste {copied})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
