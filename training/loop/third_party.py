"""Optimizers of pytorch-optimizer by the name of their class, tried on small tensors before models are loaded."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from ..configuration.learning import OWN_OPTIMIZERS, OptimSettings

_SHAPES = {"matrix": (64, 32), "other": (16, 64), "vector": (32,)}


def named_class(settings: OptimSettings) -> type[torch.optim.Optimizer]:
    """The class of that name, in capital or small letters.

    RuntimeError without the package; ValueError for a class that is unknown, has no such options, or needs others.
    """
    known = _classes(settings.name)
    found = known.get(settings.name.lower())
    if found is None:
        near = get_close_matches(settings.name.lower(), [*known, *OWN_OPTIMIZERS], n=1)
        hint = f"did you mean {known[near[0]].__name__ if near[0] in known else near[0]}?" if near else "see its list."
        raise ValueError(
            f"optim.name is {settings.name}; known are {', '.join(OWN_OPTIMIZERS)} and the classes of "
            f"pytorch-optimizer, which has none of this name; {hint}"
        )
    named = _arguments(found)
    missing = [
        name
        for name, each in named.items()
        if each.default is Parameter.empty and name not in ("params", *settings.options)
    ]
    if missing:
        raise ValueError(
            f"optim.name is {settings.name}, which cannot work without {', '.join(missing)}. Give it in "
            "optim.options, or choose an optimizer that needs nothing but gradients."
        )
    unknown = [name for name in settings.options if name not in named]
    if unknown:
        raise ValueError(
            f"optim.options has {', '.join(unknown)}, which {settings.name} does not know; its options are "
            f"{', '.join(name for name in named if name not in ('params', *_own(settings)))}."
        )
    return found


def made(settings: OptimSettings, groups: Sequence[Mapping[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer over groups of parameters; ours of its settings where it has them. ValueError in its own words."""
    found = named_class(settings)
    own = {name: value for name, value in _own(settings).items() if name in _arguments(found)}
    try:
        return found([dict(group) for group in groups], **{**own, **settings.options})
    except Exception as error:  # a stranger's class raises whatever it likes
        raise _refused(settings, error) from error


def trial_parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in _SHAPES.items()}


def advance(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], steps: Iterable[int]) -> None:
    """Steps with gradients that the step's number alone decides. ValueError where the optimizer cannot."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        try:
            optimizer.step()
        except Exception as error:  # as in `made`
            raise ValueError(
                f"{type(optimizer).__name__} cannot take a step from gradients alone ({error}). Choose another "
                "optim.name."
            ) from error


def _classes(name: str) -> dict[str, type[torch.optim.Optimizer]]:
    """All of them by their names in small letters."""
    try:
        import pytorch_optimizer
    except ImportError as error:
        raise RuntimeError(
            f"optim.name is {name}, which is none of {', '.join(OWN_OPTIMIZERS)}; others are those of "
            "pytorch-optimizer, and that is not installed. Run `python -m pip install pytorch-optimizer`, or set "
            "optim.name=adamw."
        ) from error
    found = (getattr(pytorch_optimizer, each) for each in dir(pytorch_optimizer))
    return {
        each.__name__.lower(): each
        for each in found
        if isinstance(each, type)
        and issubclass(each, torch.optim.Optimizer)
        and not each.__module__.startswith("torch.")
    }


def _arguments(found: type[torch.optim.Optimizer]) -> dict[str, Parameter]:
    variable = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    named = signature(found.__init__).parameters
    return {name: each for name, each in named.items() if name != "self" and each.kind not in variable}


def _own(settings: OptimSettings) -> dict[str, Any]:
    """The settings that AdamW has too, which most have under the same names."""
    # Good betas differ from one to the next, so these are only given where they are not AdamW's.
    fields = OptimSettings.model_fields
    changed = {name: getattr(settings, name) for name in ("betas", "eps")}
    changed = {name: value for name, value in changed.items() if value != fields[name].default}
    return {"lr": settings.lr, "weight_decay": settings.weight_decay, **changed}


def _refused(settings: OptimSettings, error: Exception) -> ValueError:
    return ValueError(
        f"optim.name is {settings.name}, which refuses its settings ({error}). Change optim.options, or choose another "
        "optim.name."
    )
