"""What a file's first bytes say: no model at all, a pickle, or a format of another kind."""

from dataclasses import dataclass
from pathlib import Path

SAFETENSORS = (".safetensors", ".sft")
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pt2")
GGUF_MAGIC = b"GGUF"
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml", b'{"error')
_POINTER_START = b"version https://git-lfs"
_READ = 64


@dataclass(frozen=True)
class NoModel:
    """What lies in a model's place: its name, and a sentence on what to do."""

    name: str
    fault: str


PICKLE = NoModel(
    "pickle (not opened)",
    "It can run code when opened, so it was not opened. Use the .safetensors file of the same model.",
)


def no_model(path: Path) -> NoModel | None:
    """Nothing, a pointer, a web page or a pickle in a model's place; None where it may be a model."""
    start = read_start(path)
    if not start:
        return NoModel("empty file", "The file is empty; fetch it again.")
    if start.startswith(_POINTER_START):
        return NoModel("git-LFS pointer", "This is the pointer of a file, not the file; run `git lfs pull`.")
    if start.lstrip().lower().startswith(_PAGE_STARTS):
        return NoModel("web page", "A web page was saved in its place; the site asks for a login.")
    if is_pickle(start):
        return PICKLE
    if text := _as_text(start):
        return NoModel("text", f"It begins with “{text}”; what a site answered may have been saved in its place.")
    return None


def no_safetensors(path: Path) -> str:
    """Why a file cannot be a safetensors file, as the rest of a sentence that begins with its name, or nothing."""
    instead = no_model(path)
    if instead is not None:
        return f"is not a safetensors file ({instead.name}). {instead.fault}"
    if read_start(path).startswith(GGUF_MAGIC):
        return "is not a safetensors file (GGUF). Only base models are read from that format."
    return ""


def no_onnx(path: Path) -> str:
    """The same of an ONNX file. Pickles pass here: the parser refuses what is not a graph."""
    instead = no_model(path)
    if instead is None or instead == PICKLE:
        return ""
    return f"is not an ONNX file ({instead.name}). {instead.fault}"


def read_start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_READ)


def is_pickle(start: bytes) -> bool:
    # The first bytes of a safetensors file are a length and can be any; its ninth opens the header.
    return start.startswith(_PICKLE_STARTS) and start[8:9] != b"{"


def _as_text(start: bytes) -> str:
    """The first line of what is text throughout. Every format of models has bytes that no text has near its start."""
    is_text = start.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in start)
    return start.decode("ascii").strip().partition("\n")[0].strip() if is_text else ""
