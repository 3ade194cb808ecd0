"""Resuming: which settings have changed since the checkpoint, and which must not."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LOGGER = logging.getLogger("withanyone")
Change = dict[str, Any]
# A new value gives the trained weights another meaning: the rank and scale of its updates, which weights they belong
# to, and the precision of the model that they were trained on.
_OF_THE_WEIGHTS = ("train.mode", "base.precision")
_OF_A_LORA = ("train.rank", "train.alpha")
_NOT_OF_THE_RUN = ("out", "resume")


def changed(before: Mapping[str, Any], now: Mapping[str, Any], step: int) -> list[Change]:
    """A line for each setting that is another after `step` steps: its dotted key, and its values before and now.

    Raises ValueError for one that may not change when a run is resumed.
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


def describe_change(change: Change) -> str:
    """`optim.lr from 0.0001 to 1e-05`."""
    return f"{change['key']} from {_value(change['before'])} to {_value(change['now'])}"


def until(changes: Sequence[Change], step: int) -> list[Change]:
    """The changes that the result of `step` steps was trained with."""
    return [change for change in changes if change["step"] < step]


def check_origin(saved: Mapping[str, str], now: Mapping[str, str]) -> None:
    """ValueError where a checkpoint's run started from another adapter, base model or person; other data is logged."""
    if saved["adapter"] != now["adapter"]:
        raise ValueError(
            f"The run's checkpoints started from another adapter ({saved['adapter']}) than adapter.init now names "
            f"({now['adapter']}). Set it back, or give the run another folder (out=...)."
        )
    if "base" in saved and "base" in now and saved["base"] != now["base"]:
        raise ValueError(
            "The run's checkpoints were trained on another base model than base.path now names. Set it back, or give "
            "the run another folder (out=...)."
        )
    if saved.get("person") != now.get("person"):
        raise ValueError(
            f"The run's checkpoints hold the tokens of {saved.get('person', 'nobody')}, and train.identity now names "
            f"{now.get('person', 'nobody')}. Set it back, or give the run another folder (out=...)."
        )
    if saved["data"] != now["data"]:
        LOGGER.warning("The prepared photos have changed since the last checkpoint; the run resumes with the new ones.")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list is one value."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
