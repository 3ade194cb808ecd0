"""NumPy files of other people's making, read without running what is in them.

MultiID-2M keeps dictionaries of arrays in `.npy` files, that is as pickles, and a pickle may call anything. This reader
knows six names, all of which only describe an array, and builds the arrays itself.
"""

import ast
import io
import pickle
from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np

LARGEST_BYTES = 64 * 2**20  # of one file: a photo's boxes and embeddings are some kilobytes
LONGEST_HEADER = 10_000  # characters; NumPy's own limit
_BROKEN = (
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    SyntaxError,
    pickle.UnpicklingError,
)
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")

ByteOrder = Literal["<", ">", "=", "|"]  # little, big, this machine's, none
Order = Literal["C", "F"]  # of an array's numbers: rows first, columns first


class UnsafeFile(ValueError):
    """A file that asks for more than dict, list, str, numbers and arrays; the message says for what."""


class _DType:
    """A number format by its short name, such as f4."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = str(name)
        self.order: ByteOrder = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        # "O": an array of Python objects, which come as a list and are checked one by one.
        found = np.dtype(object) if self.name.startswith("O") else np.dtype(self.name)
        if found.kind not in "biufUSO":
            raise UnsafeFile(f"it holds an array of {self.name}; only numbers and texts are read")
        return found.newbyteorder(self.order) if self.order in "<>" else found


class _Array:
    """An array in the making."""

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def built(self) -> Any:
        if not isinstance(self.state, tuple) or len(self.state) != 5 or not isinstance(self.state[2], _DType):
            raise UnsafeFile("it holds an array without a description")
        _, shape, kind, is_fortran, content = self.state
        order: Order = "F" if is_fortran else "C"
        if isinstance(content, list):
            array = np.empty(len(content), object)
            array[:] = [_built(item) for item in content]
            return array.reshape(shape, order=order)
        return np.frombuffer(content, kind.dtype()).reshape(shape, order=order).copy()


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(kind: _DType, content: bytes) -> Any:
    return np.frombuffer(content, kind.dtype())[0].item()


def _from_buffer(content: Any, kind: _DType, shape: tuple[int, ...], order: Order) -> np.ndarray:
    return np.frombuffer(bytes(content), kind.dtype()).reshape(shape, order=order).copy()


def _encode(text: str, _: str) -> bytes:
    # How old pickles spell bytes.
    return text.encode("latin1")


_KNOWN: dict[str, Callable[..., Any]] = {
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "ndarray": _Array,
    "dtype": _DType,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _MODULES and name in _KNOWN:
            return _KNOWN[name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise UnsafeFile(f"it asks for {module}.{name}, which data has no need of; it may be an attack")

    def persistent_load(self, identifier: Any) -> Any:
        raise UnsafeFile("it refers to something outside itself")


def read_npy(content: bytes, label: str) -> Any:
    """An array, or the dictionary (list, text, number) of a pickled one.

    Raises UnsafeFile, naming `label`, where it asks for anything but dict, list, str, numbers and arrays, and
    ValueError where it is no such file.
    """
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"{label} has {len(content)} bytes; such files are a few kilobytes large.")
    try:
        kind, shape, order, data = _header(content)
        if kind != "|O":
            byte_order = cast(ByteOrder, kind[0])  # NumPy refuses any other letter
            return (
                np.frombuffer(data, _DType(kind[1:]).dtype().newbyteorder(byte_order))
                .reshape(shape, order=order)
                .copy()
            )
        loaded = _built(_Unpickler(io.BytesIO(data)).load())
    except UnsafeFile as error:
        raise UnsafeFile(f"{label} is not read: {error}.") from error
    except _BROKEN as error:
        raise ValueError(f"{label} is no NumPy file of numbers or of a dictionary ({error}).") from error
    # NumPy wraps a single object in an array without dimensions.
    return loaded.item() if isinstance(loaded, np.ndarray) and loaded.shape == () else loaded


def _header(content: bytes) -> tuple[str, tuple[int, ...], Order, bytes]:
    """Format, shape and order of a file's array, and the bytes after them."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        raise ValueError("it does not begin as one")
    length = 2 if content[6] == 1 else 4
    start = 8 + length
    end = start + int.from_bytes(content[8:start], "little")
    if end - start > LONGEST_HEADER:
        raise ValueError(f"its header has {end - start} bytes")
    values = ast.literal_eval(content[start:end].decode("latin1").strip())
    kind = values["descr"]
    if not isinstance(kind, str):
        raise UnsafeFile("it holds records; only numbers, texts and dictionaries are read")
    return kind, tuple(values["shape"]), "F" if values["fortran_order"] else "C", content[end:]


def _built(value: Any) -> Any:
    """The value with arrays in the place of those in the making."""
    if isinstance(value, _Array):
        return value.built()
    if isinstance(value, dict):
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_built(item) for item in value)
    if value is None or isinstance(value, (str, bytes, int, float, np.ndarray)):
        return value
    raise UnsafeFile(f"it holds {type(value).__name__}")
