"""The header of a GGUF file (magic, counts, metadata, tensor table), read with limits and without the gguf package."""

import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

from ..files.first_bytes import GGUF_MAGIC
from .header import Header, TensorInfo

MOST_ENTRIES = 100_000
MOST_TEXTS = 2_000_000  # a tokenizer has some hundred thousand
LONGEST_TEXT = 64 * 2**20
MOST_DIMENSIONS = 8
MOST_NUMBERS = 2**44  # in a tensor
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
# The numbers are ggml's; what is not listed is shown by its number.
_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1"}
_TYPES |= {10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K"}
_TYPES |= {20: "IQ4_NL", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}


def read_gguf(path: Path) -> Header:
    """Tensors in torch's order of dimensions. Raises ValueError where the header is not whole."""
    try:
        with path.open("rb") as stream:
            return _header(stream)
    except (struct.error, UnicodeDecodeError, MemoryError) as error:
        raise ValueError(f"not a whole GGUF file ({error}). Fetch it again") from error


def _header(stream: BinaryIO) -> Header:
    magic, version, tensors, entries = struct.unpack("<4sIQQ", stream.read(24))
    if magic != GGUF_MAGIC or version not in (2, 3):
        raise ValueError(f"a GGUF file of version {version}; versions 2 and 3 can be read")
    if max(tensors, entries) > MOST_ENTRIES:
        raise ValueError(f"a GGUF header that announces {tensors} tensors and {entries} entries is damaged")
    metadata = {}
    for _ in range(entries):
        key = _text(stream)
        metadata[key] = str(_value(stream, _count(stream, "I")))
    table = {}
    for _ in range(tensors):
        name, dimensions = _text(stream), _count(stream, "I")
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"the GGUF tensor {name} has {dimensions} dimensions, so the header is damaged")
        shape = tuple(_count(stream, "Q") for _ in range(dimensions))
        if prod(shape) > MOST_NUMBERS:
            raise ValueError(f"the GGUF tensor {name} is said to have {prod(shape)} numbers, so the header is damaged")
        kind = _count(stream, "I")
        _count(stream, "Q")  # where its data begins
        table[name] = TensorInfo(_TYPES.get(kind, f"type {kind}"), shape[::-1])
    return Header(table, metadata)


def _count(stream: BinaryIO, code: str) -> int:
    """An unsigned number of 32 bits ("I") or 64 ("Q")."""
    return int(_number(stream, code))


def _number(stream: BinaryIO, code: str) -> int | float | bool:
    size = struct.calcsize(f"<{code}")
    return struct.unpack(f"<{code}", stream.read(size))[0]


def _text(stream: BinaryIO) -> str:
    length = _count(stream, "Q")
    if length > LONGEST_TEXT:
        raise ValueError(f"a GGUF header with a text of {length} bytes is damaged")
    return stream.read(length).decode("utf-8")


def _value(stream: BinaryIO, kind: int) -> object:
    if kind == _TEXT:
        return _text(stream)
    if kind == _ARRAY:
        inner, length = _count(stream, "I"), _count(stream, "Q")
        if inner not in (_TEXT, *_SCALARS) or length > MOST_TEXTS:
            raise ValueError("a GGUF header with nested or endless lists is damaged")
        for _ in range(length):
            _value(stream, inner)
        return f"list of {length}"
    if kind not in _SCALARS:
        raise ValueError(f"a GGUF header with a value of unknown type {kind} is damaged")
    return _number(stream, _SCALARS[kind])
