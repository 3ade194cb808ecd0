"""Settings as a command's help shows them: what their models say in their docstrings."""

from collections.abc import Iterator
from inspect import cleandoc

from .reading import Section


def described(model: type[Section]) -> str:
    """The settings of a model and of the sections in it, one paragraph each."""
    parts = [("settings", model), *_sections(model)]
    return "\n\n".join(f"{name}:\n{_indented(section)}" for name, section in parts)


def _sections(model: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


def _indented(section: type[Section]) -> str:
    """What follows the first sentence, which is for readers of the code; where nothing does, that sentence."""
    first, _, rest = cleandoc(section.__doc__ or "").partition("\n\n")
    return "\n".join(f"  {line}" for line in (rest or first).splitlines())
