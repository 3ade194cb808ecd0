"""Weights in safetensors files, alone or in shards, read one tensor at a time, and what tells files apart."""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from withanyone_core.files.digest import file_sha256
from withanyone_core.files.first_bytes import no_safetensors

ENDINGS = (".safetensors", ".sft")
_PIECES, _PIECE_BYTES = 64, 2**16  # of a sampled fingerprint


class Tensors(Mapping[str, Tensor]):
    """Tensors of one or several files by key; each is read from disk when it is asked for."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files
        self._readers = [_reader(path) for path in files]
        self._where = {key: reader for reader in self._readers for key in reader.keys()}  # noqa: SIM118

    def __getitem__(self, key: str) -> Tensor:
        return self._where[key].get_tensor(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._where[key].get_slice(key).get_shape())


def open_tensors(path: Path) -> Tensors:
    """The tensors of a file, or of all shards in a folder.

    Raises FileNotFoundError where nothing is there, ValueError for what is no safetensors file.
    """
    return Tensors(weight_files(path))


def model_folder(path: Path, part: str) -> Path:
    """Where a model is: the folder `part` of a diffusers folder, the folder of a diffusers file, else `path` itself."""
    path = Path(path)
    if (path / part).is_dir():
        return path / part
    is_diffusers = path.name.startswith("diffusion_pytorch_model") and path.with_name("config.json").is_file()
    return path.parent if is_diffusers else path


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a model's weights. Raises FileNotFoundError or ValueError."""
    path = Path(path)
    if path.is_dir():
        return _shards(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if path.suffix == ".gguf":
        raise ValueError(
            f"{path.name} is GGUF, whose quantized matrices training cannot read. Use the same model as .safetensors "
            "in bf16, fp16, fp32 or fp8."
        )
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path.name}: weights are read from .safetensors files only; other formats can run code.")
    return (path,)


def fingerprint(*paths: Path) -> str:
    """SHA-256 over the contents of all weights and settings of models, wherever the files are."""
    digest = sha256()
    for path in paths:
        files = weight_files(path)
        settings = sorted(path.glob("*.json")) if path.is_dir() else []
        # In a folder names tell parts apart; a single file is the same model under any name.
        for file in (*files, *settings):
            digest.update(
                f"{file.name} {file_sha256(file)}\n".encode() if path.is_dir() else file_sha256(file).encode()
            )
    return digest.hexdigest()


def sampled_fingerprint(path: Path) -> str:
    """SHA-256 over the sizes of a model's weight files and pieces spread over each, where reading all takes too long.

    Two fine-tunes of one model, of the same size and header, differ in it.
    """
    digest = sha256()
    for file in weight_files(path):
        size = file.stat().st_size
        digest.update(f"{size}\n".encode())
        with file.open("rb") as stream:
            for piece in range(_PIECES):
                stream.seek(size * piece // _PIECES)
                digest.update(stream.read(_PIECE_BYTES))
    return digest.hexdigest()


def _shards(folder: Path) -> tuple[Path, ...]:
    index = next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is not None:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder} is not complete: {', '.join(missing)} is missing.")
        return tuple(folder / name for name in names)
    found = [path for path in sorted(folder.iterdir()) if path.suffix in ENDINGS]
    if not found:
        raise FileNotFoundError(f"There is no .safetensors file in {folder}.")
    if len(found) > 1:
        # Folders from the hub may hold the same weights in several widths; the plain name is the full one.
        plain = [path for path in found if path.stem in ("model", "diffusion_pytorch_model")]
        found = plain or found[:1]
    return (found[0],)


def _reader(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        if reason := no_safetensors(path):
            raise ValueError(f"{path.name} {reason}") from error
        raise ValueError(
            f"{path.name} is not a whole safetensors file ({error}). The download was probably cut off; fetch it again."
        ) from error
