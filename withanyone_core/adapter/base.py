"""Which base model an adapter was trained on: its layers are the residuals of that model's blocks and of no other."""

from ..base_models.base_model import BaseModel
from ..base_models.registry import base_named, bases_of_size
from .checkpoint import AdapterFile, AdapterFileError, opened

METADATA_KEY = "base_model"  # of the safetensors header; adapters from training have it, released ones do not


def base_of(file: AdapterFile) -> BaseModel | None:
    """The family that the header names, or that alone has models of this size; None where neither tells.

    Raises AdapterFileError for a name that this version does not know.
    """
    with opened(file) as reader:
        written = (reader.metadata() or {}).get(METADATA_KEY, "")
    if written:
        try:
            return base_named(written)
        except ValueError as error:
            raise AdapterFileError(f"{file.path.name} needs a later version of this pack. {error}") from error
    shape = next(iter(file.shapes.values()))
    fitting = bases_of_size(shape.layers, shape.hidden)
    return fitting[0] if len(fitting) == 1 else None


def check_base(file: AdapterFile, base: BaseModel, blocks: int, width: int, model: str) -> None:
    """ValueError unless the adapter was made for a model of this family with so many blocks of this width.

    `model` is what the message calls it.
    """
    own = base_of(file)
    if own is not None and own is not base:
        raise ValueError(
            f"{file.path.name} was trained for {own.label}, and the connected {model} is {base.label}. An adapter "
            f"works with its own base model only: load {own.label}, or an adapter for {base.label}."
        )
    for shape in file.shapes.values():
        if (shape.layers, shape.hidden) != (blocks, width):
            raise ValueError(
                f"This adapter was made for a model of width {shape.hidden} with {shape.layers} blocks; the connected "
                f"{model} has width {width} and {blocks} blocks.{_advice(shape.layers, shape.hidden)}"
            )


def _advice(blocks: int, width: int) -> str:
    fitting = [name for base in bases_of_size(blocks, width) for name in base.named(blocks, width)]
    if fitting:
        return f" Use {', '.join(fitting)} with it."
    return " Use the model it was trained for; the released adapters are for FLUX.1-dev."
