"""The card of a shipped model: what its files are, and how and where they were made."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path

import torch

from .training import Run

FOLDER = "cards"


@dataclass(frozen=True)
class FileDigest:
    """A shipped file's fingerprint and size."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class ModelCard:
    """How a model came to be.

    files              by path inside the folder of weights, with forward slashes
    recipe             the module that holds it
    seconds            spent training; rendering_seconds spent on the images, summed over its processes
    loss               mean of the last steps
    """

    name: str
    files: dict[str, FileDigest]
    recipe: str
    seed: int
    steps: int
    seconds: float
    rendering_seconds: float
    loss: float
    machine: str
    torch: str
    date: str


def make_card(
    name: str, files: tuple[Path, ...], folder: Path, recipe: str, run: Run, rendering_seconds: float
) -> ModelCard:
    """The card of files in a folder of weights, dated today, with the machine this runs on."""
    return ModelCard(
        name=name,
        files={file.relative_to(folder).as_posix(): digest_of(file) for file in sorted(files)},
        recipe=recipe,
        seed=run.seed,
        steps=run.step,
        seconds=round(run.seconds, 1),
        rendering_seconds=round(rendering_seconds, 1),
        loss=round(run.loss, 6),
        machine=machine(),
        torch=torch.__version__,
        date=date.today().isoformat(),
    )


def write_card(card: ModelCard, folder: Path) -> Path:
    """Writes it to cards/NAME.json in a folder of weights."""
    path = folder / FOLDER / f"{card.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.part")
    written.write_text(json.dumps(asdict(card), indent=4) + "\n", encoding="utf-8")
    os.replace(written, path)
    return path


def read_cards(folder: Path) -> dict[str, ModelCard]:
    """All cards in a folder of weights by name. Raises ValueError for a file that is none."""
    return {path.stem: _read(path) for path in sorted((folder / FOLDER).glob("*.json"))}


def digest_of(file: Path) -> FileDigest:
    content = file.read_bytes()
    return FileDigest(sha256(content).hexdigest(), len(content))


def machine() -> str:
    """Processor, cores and device as text."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}"


def _processor() -> str:
    """Linux alone tells the processor's name in a file; elsewhere the platform's word has to do."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> ModelCard:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileDigest(**digest) for name, digest in values.pop("files").items()}
        return ModelCard(files=files, **values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path.name} is no model's card: {error}. Train {path.stem} again.") from error
