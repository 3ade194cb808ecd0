"""What a resumed run's settings say otherwise than those its checkpoint was made with."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Change = dict[str, Any]
# A new value gives what was learned another meaning: the rank and scale of its updates, which weights they belong to,
# and the numbers of the model that they were learned on.
_OF_THE_WEIGHTS = ("train.mode", "base.precision")
_OF_A_LORA = ("train.rank", "train.alpha")
_NOT_OF_THE_RUN = ("out", "resume")


def changed(before: Mapping[str, Any], now: Mapping[str, Any], step: int) -> list[Change]:
    """A line for each setting that is another after `step` steps: its dotted key, and its values before and now.

    Raises ValueError for one that may not change while a run goes on.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in {**old, **new} if key not in _NOT_OF_THE_RUN and old.get(key) != new.get(key)]
    lines = [{"step": step, "key": key, "before": old.get(key), "now": new.get(key)} for key in keys]
    fixed = _OF_THE_WEIGHTS + (_OF_A_LORA if new["train.mode"] == "lora" else ())
    wrong = [f"{line['key']} was {line['before']} and is now {line['now']}" for line in lines if line["key"] in fixed]
    if wrong:
        raise ValueError(
            f"The run's checkpoints were trained with other settings: {'; '.join(wrong)}. Their weights would not mean "
            "the same any more. Set it back, or give the run another folder (out=...)."
        )
    return lines


def readable(change: Change) -> str:
    """`optim.lr from 0.0001 to 1e-05`."""
    return f"{change['key']} from {_value(change['before'])} to {_value(change['now'])}"


def until(changes: Sequence[Change], step: int) -> list[Change]:
    """The changes that the result of `step` steps was trained with."""
    return [change for change in changes if change["step"] < step]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list is one value."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
