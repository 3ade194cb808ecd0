"""A YAML file and `key=value` changes to one checked, frozen model; every mistake is named with what was expected.

Paths in a file are relative to that file's folder, paths in `key=value` to the working directory. Paths, names and
other texts are taken as they were typed, whatever YAML would read there: see texts.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from withanyone_core.files.unicode import as_on_disk

from .texts import QUOTES, sections_of, typed, with_texts

Tree = dict[str, Any]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values cannot change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


Settings = TypeVar("Settings", bound=Section)


class _FromCommandLine(str):
    """A text given as `key=value`."""


def located(value: Any, info: ValidationInfo) -> Any:
    """A path made absolute, from the folder of the file it was written in. ValueError for an empty one."""
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("the path is empty; name one (`.` is the folder you are in).")
    # A folder may itself be called ~anna; only one's own home has a short form.
    path = Path(value).expanduser() if value == "~" or value.startswith(("~/", "~\\")) else Path(value)
    folder = (info.context or {}).get("folder")
    if path.is_absolute() or folder is None or isinstance(value, _FromCommandLine):
        return as_on_disk(path.absolute())
    return as_on_disk((folder / path).absolute())


UserPath = Annotated[Path, BeforeValidator(located)]


def read_settings(model: type[Settings], path: Path | None, changes: Sequence[str] = ()) -> Settings:
    """The settings of a file (none: all defaults) with `key=value` changes, keys dotted.

    Raises FileNotFoundError without the file, ValueError for what is no YAML, an unknown key (with the nearest known
    one) and a value of the wrong kind; all mistakes are listed at once.
    """
    tree = {} if path is None else read_tree(path, model)
    for change in changes:
        key, value = parsed_change(change, model)
        set_key(tree, key, value)
    folder = None if path is None else Path(path).resolve().parent
    return checked(model, tree, "the command line" if path is None else Path(path).name, folder)


def read_tree(path: Path, model: type[BaseModel] | None = None) -> Tree:
    """A YAML file as nested dictionaries, the texts of a model in it as written. FileNotFoundError or ValueError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no configuration {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        tree, written = yaml.safe_load(text), yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not readable YAML: {error}. {QUOTES}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{path.name} holds {type(tree).__name__}; expected `key: value` lines.")
    return tree if model is None else with_texts(model, tree, written)


def parsed_change(change: str, model: type[BaseModel]) -> tuple[str, Any]:
    """`optim.lr=1e-5` to its key and value, by the type that the model gives the setting."""
    key, sign, text = change.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ValueError(f"{change!r} is no change of a setting; expected key=value, such as optim.lr=1e-5.")
    try:
        return key, _marked(typed(model, key, text))
    except yaml.YAMLError as error:
        raise ValueError(f"The value in {change!r} is not readable YAML: {error}") from error


def _marked(value: Any) -> Any:
    if isinstance(value, str):
        return _FromCommandLine(value)
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
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
    """The model of a tree. ValueError listing every mistake."""
    try:
        return model.model_validate(tree, context={"folder": folder})
    except ValidationError as error:
        lines = mistakes(model, error)
    raise ValueError(f"{source}: " + ("\n  " if len(lines) > 1 else "") + "\n  ".join(lines))


def mistakes(model: type[BaseModel], error: ValidationError) -> list[str]:
    """A line for each."""
    return [_readable(model, mistake) for mistake in error.errors()]


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, sections included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in sections_of(field.annotation):
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


def _readable(model: type[BaseModel], mistake: Mapping[str, Any]) -> str:
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
