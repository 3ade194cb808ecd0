"""An adapter's weights as the start of one for another base model of the same width.

A layer adds to the stream after one block. Another base model has other numbers of blocks, so a layer of the new
adapter starts as that of the block at the same depth: double blocks from double, single from single, evenly spaced.
"""

import re
from dataclasses import replace

from torch import Tensor

from ..base_models.base_model import Size
from .checkpoint import AdapterFile, AdapterFileError, opened
from .keys import expected_keys

_LAYER = re.compile(r"^(ipa(?:_arc|_sig)?)\.(\d+)\.")


def layer_map(source: Size, target: Size) -> tuple[int, ...]:
    """For each layer of the target, double blocks first, the layer of the source that it starts as."""
    doubles = _spaced(source.double_blocks, target.double_blocks)
    singles = _spaced(source.single_blocks, target.single_blocks)
    return (*doubles, *(source.double_blocks + layer for layer in singles))


def transferred(file: AdapterFile, source: Size, target: Size) -> dict[str, Tensor]:
    """The tensors of an adapter for a model of the target's size, in the layout of the file.

    Projectors stay what they are. Raises AdapterFileError where the file is not one for the source, ValueError where
    the widths differ: a layer's weights then have no meaning in the other stream.
    """
    for shape in file.shapes.values():
        if (shape.layers, shape.hidden) != (source.blocks, source.width):
            raise AdapterFileError(
                f"{file.path.name} is an adapter for {shape.layers} blocks of width {shape.hidden}, and the base model "
                f"it is said to be for has {source.blocks} of width {source.width}."
            )
    if source.width != target.width:
        raise ValueError(
            f"{file.path.name} is for a stream of width {source.width} and the other base model's has {target.width}; "
            "only equal widths can share weights. Start from fresh ones (adapter.init=none)."
        )
    layers = layer_map(source, target)
    wanted = [
        key for shape in file.shapes.values() for key in expected_keys(replace(shape, layers=len(layers)), file.layout)
    ]
    with opened(file) as reader:
        return {key: reader.get_tensor(_source_key(key, layers)) for key in wanted}


def _source_key(key: str, layers: tuple[int, ...]) -> str:
    return _LAYER.sub(lambda match: f"{match[1]}.{layers[int(match[2])]}.", key)


def _spaced(source: int, target: int) -> list[int]:
    """As many of 0 to source - 1, evenly spaced from the first to the last."""
    return [round(index * (source - 1) / max(1, target - 1)) for index in range(target)]
