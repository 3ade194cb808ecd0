"""Texts as they were typed: which settings are texts, and what a user wrote there.

YAML reads `2025`, `no`, `2025-11-02` and `my: photos` as a number, a boolean, a date and a mapping, cuts `runs/anna #2`
off at the #, and stumbles over `[old] x`. Where the model wants a path or a name, what was typed is what is meant.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

QUOTES = "A text in which YAML sees something else (# : , & * ! [ ] { }) belongs in quotes."
_NOTHING = "null"
_ITEM = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]*?))\s*(?:,|$)""")


def typed(model: type[BaseModel], key: str, text: str) -> Any:
    """The value of `key=text`: texts as they are, lists of texts in brackets or one alone, everything else as YAML.

    A setting that may be none is none for `null`. Raises yaml.YAMLError.
    """
    annotation = annotation_of(model, key)
    if _is_text(annotation):
        return None if _may_be_none(annotation) and text == _NOTHING else text
    if _are_texts(annotation):
        return _items(text)
    # In place of a list of sections a file with one.
    if _are_sections(annotation) and not text.lstrip().startswith(("[", "{")):
        return text
    if not text.strip():
        return ""
    return _restored(model, annotation, yaml.safe_load(text), yaml.load(text, yaml.BaseLoader))


def with_texts(model: type[BaseModel], tree: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """A YAML tree with the model's texts as they stand in the file.

    written  the same tree with every scalar as its text, as yaml.BaseLoader gives it
    """
    return _restored(model, model, tree, written)


def annotation_of(model: type[BaseModel], key: str) -> Any:
    """The type of a dotted setting; None where the model has none of that name."""
    first, _, rest = key.partition(".")
    field = model.model_fields.get(first)
    if field is None or not rest:
        return field and field.annotation
    return next((annotation_of(section, rest) for section in sections_of(field.annotation)), None)


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a setting may be."""
    return (part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel))


def _restored(root: type[BaseModel], annotation: Any, value: Any, written: Any) -> Any:
    """A value read from YAML, its texts as written."""
    if _is_text(annotation) and isinstance(written, str):
        return None if value is None and _may_be_none(annotation) else written
    if _are_texts(annotation) and isinstance(written, str | list) and value is not None:
        return [written] if isinstance(written, str) else written
    if isinstance(written, str) and value is not None and (_are_sections(annotation) or any(sections_of(annotation))):
        return written  # a file in place of a list, or a text in place of a section
    if isinstance(value, list) and isinstance(written, list) and get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        return [_restored(root, item, *pair) for pair in zip(value, written, strict=True)]
    if get_origin(annotation) is dict and isinstance(value, list) and isinstance(written, list):
        return [each if isinstance(each, str) else given for given, each in zip(value, written, strict=True)]
    if isinstance(value, Mapping) and isinstance(written, Mapping):
        # What is no section holds settings of the whole, as a phase's overrides do.
        section = next(sections_of(annotation), root)
        # Names are keys too; a merge key (<<) is one for YAML's plainer loader, and then the two differ in length.
        are_names = get_origin(annotation) is dict and len(value) == len(written)
        keys = map(str, written) if are_names else value
        return {
            key: _restored(root, annotation_of(section, str(key)), each, written.get(str(key)))
            for key, each in zip(keys, value.values(), strict=True)
        }
    return value


def _items(text: str) -> list[str]:
    """`[a, b #2, "c, d"]` or a single text."""
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return [text]
    inner = stripped[1:-1].strip().removesuffix(",")
    return [next((part for part in found if part is not None), "") for found in _found(inner)] if inner else []


def _found(inner: str) -> Iterator[tuple[str | None, ...]]:
    position = 0
    while position < len(inner) and (found := _ITEM.match(inner, position)):
        yield found.groups()
        position = found.end()


def _parts(annotation: Any) -> Iterator[Any]:
    """What an annotation allows, one kind after the other."""
    if get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _is_text(annotation: Any) -> bool:
    parts = [part for part in _parts(annotation) if part is not NoneType]
    return bool(parts) and all(part in (str, Path) or _is_choice(part) for part in parts)


def _is_choice(part: Any) -> bool:
    return get_origin(part) is Literal and all(isinstance(word, str) for word in get_args(part))


def _are_texts(annotation: Any) -> bool:
    return get_origin(annotation) is tuple and all(item is ... or _is_text(item) for item in get_args(annotation))


def _are_sections(annotation: Any) -> bool:
    return get_origin(annotation) is tuple and any(any(sections_of(item)) for item in get_args(annotation))


def _may_be_none(annotation: Any) -> bool:
    return NoneType in _parts(annotation)
