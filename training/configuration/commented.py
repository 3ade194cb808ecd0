"""Settings as a YAML file that explains itself: every key with its value, below what it means."""

from inspect import cleandoc
from typing import Any

import yaml

from .reading import Section, Tree

_WIDTH = 110  # of a line, like the comments'


class _Dumper(yaml.SafeDumper):
    """Lists on one line, sections on many."""


_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def commented_yaml(settings: Section, given: Tree) -> str:
    """All settings, a section a paragraph; values that are in `given` stand as they were given there.

    `given` matters for paths: read from a file they are relative to it, and in `settings` they have become absolute.
    """
    values = _overlaid(settings.model_dump(mode="json"), given)
    plain = {name: value for name, value in values.items() if not isinstance(getattr(settings, name), Section)}
    sections = {name: value for name, value in values.items() if name not in plain}
    parts = [_part(type(settings), plain)]
    parts += [_part(type(getattr(settings, name)), {name: value}) for name, value in sections.items()]
    return "\n".join(parts)


def _part(model: type[Section], values: Tree) -> str:
    comment = "".join(f"# {line}".rstrip() + "\n" for line in cleandoc(model.__doc__ or "").splitlines())
    return comment + yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


def _overlaid(values: Tree, given: Tree) -> Tree:
    return {name: _one(value, given[name]) if name in given else value for name, value in values.items()}


def _one(value: Any, given: Any) -> Any:
    return _overlaid(value, given) if isinstance(value, dict) and isinstance(given, dict) else given
