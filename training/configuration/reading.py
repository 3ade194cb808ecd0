"""A YAML file and `key=value` changes to one checked, frozen model; every mistake is named with what was expected.

Paths in a file are relative to that file's folder, paths in `key=value` to the working directory.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

Tree = dict[str, Any]


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values cannot change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


Settings = TypeVar("Settings", bound=Section)


class _FromCommandLine(str):
    """A text given as `key=value`."""


def _located(value: Any, info: ValidationInfo) -> Any:
    """A path made absolute, from the folder of the file it was written in."""
    if not isinstance(value, str) or value == "":
        return value
    path = Path(value).expanduser()
    folder = (info.context or {}).get("folder")
    if path.is_absolute() or folder is None or isinstance(value, _FromCommandLine):
        return path.absolute()
    return (folder / path).absolute()


UserPath = Annotated[Path, BeforeValidator(_located)]


def read_settings(model: type[Settings], path: Path | None, changes: Sequence[str] = ()) -> Settings:
    """The settings of a file (none: all defaults) with `key=value` changes, keys dotted.

    Raises FileNotFoundError without the file, ValueError for what is no YAML, an unknown key (with the nearest known
    one) and a value of the wrong kind; all mistakes are listed at once.
    """
    tree = {} if path is None else read_tree(path)
    for change in changes:
        key, value = parsed_change(change)
        set_key(tree, key, value)
    folder = None if path is None else Path(path).resolve().parent
    return checked(model, tree, "the command line" if path is None else Path(path).name, folder)


def read_tree(path: Path) -> Tree:
    """A YAML file as nested dictionaries. Raises FileNotFoundError or ValueError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no configuration {path}.")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not readable YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{path.name} holds {type(tree).__name__}; expected `key: value` lines.")
    return tree


def parsed_change(change: str) -> tuple[str, Any]:
    """`optim.lr=1e-5` to its key and value; the value is read as YAML."""
    key, sign, text = change.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ValueError(f"{change!r} is no change of a setting; expected key=value, such as optim.lr=1e-5.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"The value in {change!r} is not readable YAML: {error}") from error
    return key, _marked(value if text.strip() else "")


def _marked(value: Any) -> Any:
    if isinstance(value, str):
        return _FromCommandLine(value)
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return value


def set_key(tree: Tree, key: str, value: Any) -> None:
    """Sets a dotted key in nested dictionaries. ValueError where a part of the way is a plain value."""
    *way, last = key.split(".")
    for part in way:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise ValueError(f"{key} cannot be set: {part} is a plain value, {below!r}, and has no settings in it.")
        tree = below
    tree[last] = value


def checked(model: type[Settings], tree: Mapping[str, Any], source: str, folder: Path | None = None) -> Settings:
    """The model of a tree. ValueError listing every mistake in words."""
    try:
        return model.model_validate(tree, context={"folder": folder})
    except ValidationError as error:
        lines = [_in_words(model, mistake) for mistake in error.errors()]
    raise ValueError(f"{source}: " + ("\n  " if len(lines) > 1 else "") + "\n  ".join(lines))


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _sections(field.annotation):
            yield from known_keys(section, f"{prefix}{name}.")


def nearest_key(model: type[BaseModel], key: str) -> str | None:
    """The known key a wrong one most likely means: spelt like it, or of the same name in another section."""
    known = list(known_keys(model))
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    last = key.rpartition(".")[2]
    same_name = [name for name in known if name.rpartition(".")[2] == last]
    if same_name:
        return same_name[0]
    if close:
        return close[0]
    names = get_close_matches(last, [name.rpartition(".")[2] for name in known], n=1, cutoff=0.6)
    return next((name for name in known if names and name.rpartition(".")[2] == names[0]), None)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _sections(part)


def _in_words(model: type[BaseModel], mistake: Mapping[str, Any]) -> str:
    key = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        nearest = nearest_key(model, key)
        hint = f"did you mean {nearest}?" if nearest else f"known are {', '.join(model.model_fields)}."
        return f"the key {key} is unknown; {hint}"
    if mistake["type"] == "missing":
        return f"{key} is missing; it has no default and must be given."
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key} is {mistake['input']!r}: {message[0].lower()}{message[1:]}."
