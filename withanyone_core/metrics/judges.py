"""Recognizers as judges: an ONNX file that is given what its card says."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..faces.alignment import aligned_face, are_spread
from ..faces.dlib_analysis import DLIB
from ..files.digest import file_sha256
from ..files.first_bytes import no_onnx
from ..identity import Face
from .case import JudgeInfo
from .dlib_judge import DlibJudge
from .judge_card import Card, card_of, read_card, shipped_cards, template_of

BATCH = 32  # crops: 32 of 160 x 160 are 10 MB as floats
CPU = "CPUExecutionProvider"


class Judge:
    """A recognizer with its own correct input."""

    def __init__(self, card: Card, onnx: Path, providers: Sequence[str] = (CPU,)) -> None:
        """Raises FileNotFoundError without the ONNX file, ValueError where it and the card do not fit."""
        self.card = card
        self.file_name = card.onnx
        self.info = JudgeInfo(card.name, card.trained_with)
        self._onnx = onnx
        self._template = template_of(card)
        self._session = _session(onnx, card, providers)
        self._input, self._fixed_batch = _checked_input(self._session, card, onnx)
        self._output, self.width = _checked_output(self._session, card, onnx)
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Changes with the recognizer's file and with everything on the card that changes its input."""
        if not self._fingerprint:
            # What it is called, and whether it took part in training, change no embedding.
            wanted = {key: value for key, value in asdict(self.card).items() if key not in ("name", "onnx", "about")}
            del wanted["trained_with"]
            text = file_sha256(self._onnx) + json.dumps(wanted, sort_keys=True)
            self._fingerprint = sha256(text.encode()).hexdigest()
        return self._fingerprint

    def embed(self, photo: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Raw embeddings, float32 [faces, width], of the faces of an RGB photo [H, W, 3] uint8."""
        return self.embed_crops(self.crops(photo, [face.landmarks_px for face in faces]))

    def crops(self, photo: np.ndarray, landmarks_px: Sequence[np.ndarray]) -> np.ndarray:
        """The upright faces [faces, size_px, size_px, 3] RGB uint8 of a photo [H, W, 3]; landmarks [5, 2] a face.

        Raises ValueError for landmarks that are not finite or all in one point.
        """
        size = self.card.size_px
        crops = np.zeros((len(landmarks_px), size, size, 3), np.uint8)
        for number, points in enumerate(landmarks_px):
            if not are_spread(points):
                raise ValueError(
                    f"The landmarks of face {number + 1} are not finite or all in one point, so it cannot be turned "
                    "upright. Leave this face out, or use another detector."
                )
            crops[number] = aligned_face(photo, points, self._template, size)
        return crops

    def embed_crops(self, crops: np.ndarray) -> np.ndarray:
        """Raw embeddings, float32 [n, width], of crops [n, size_px, size_px, 3] RGB uint8 of any number of photos."""
        size = self._fixed_batch or BATCH
        found = [self._run(crops[start : start + size]) for start in range(0, len(crops), size)]
        return np.concatenate([np.zeros((0, self.width), np.float32), *found])

    def _run(self, crops: np.ndarray) -> np.ndarray:
        levels = crops[..., ::-1] if self.card.colours == "bgr" else crops
        mean, std = (np.array(each, np.float32) for each in (self.card.mean, self.card.std))
        batch = (levels.astype(np.float32) - mean) / std
        # A graph with a fixed batch takes no fewer, so the last crop is repeated; the copies' embeddings are cut off
        # below.
        if self._fixed_batch > len(batch):
            batch = np.concatenate([batch, np.repeat(batch[-1:], self._fixed_batch - len(batch), axis=0)])
        if self.card.layout == "nchw":
            batch = batch.transpose(0, 3, 1, 2)
        dtype = np.float16 if self._input.type == "tensor(float16)" else np.float32
        (embeddings,) = self._session.run([self._output], {self._input.name: np.ascontiguousarray(batch, dtype=dtype)})
        embeddings = np.asarray(embeddings, dtype=np.float32).reshape(len(batch), -1)[: len(crops)]
        if embeddings.shape[1] != self.width:
            raise ValueError(
                f"{self._onnx.name} gives {embeddings.shape[1]} numbers a face, and its card {self.card.name} says "
                f'{self.width}. Correct "vector" in the card, or use the file it is written for.'
            )
        return embeddings


def is_dlib(path: Path) -> bool:
    """Whether a judge's name means dlib's recognizer, which pip installs, and no file."""
    return path.name == DLIB and not path.exists()


def load_judge(path: Path, onnx: Path | None = None, providers: Sequence[str] = (CPU,)) -> Judge | DlibJudge:
    """The judge of a card (.json), or of a recognizer's .onnx file that has one; "dlib" is that of pip's package.

    The card of an ONNX file is the .json of the same name beside it, else the shipped card that names this file.
    onnx       the recognizer's file, or a folder that holds it, where it is not beside the card
    providers  onnxruntime's execution providers

    Raises FileNotFoundError for a missing card or recognizer, ValueError for a card or recognizer that cannot be used.
    """
    path = Path(path)
    if is_dlib(path):
        return DlibJudge()
    if path.suffix == ".onnx":
        path, onnx = card_of(path), path
    card = read_card(path)
    if onnx is None:
        onnx = path.parent / card.onnx
    elif onnx.is_dir():
        onnx = onnx / Path(card.onnx).name
    return Judge(card, Path(onnx), providers)


def judge_of(analysis: Any) -> JudgeInfo:
    """Who a face analysis is as a judge: by the name it has itself, or by that of its recognizer's file."""
    known = getattr(analysis, "judge_name", "")
    if known:
        return JudgeInfo(known)
    name = getattr(analysis, "model_name", "")
    file = name.rsplit("/", 1)[-1]
    for path in shipped_cards().values():
        card = read_card(path)
        if card.onnx == file:
            return JudgeInfo(card.name, card.trained_with)
    return JudgeInfo(name or "a recognizer without a name")


def _session(onnx: Path, card: Card, providers: Sequence[str]) -> Any:
    if not onnx.is_file():
        raise FileNotFoundError(
            f"The recognizer {onnx} of the judge {card.name} is missing. {card.about or 'Put its ONNX file there.'}"
        )
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError as error:
        raise RuntimeError(
            f"Judges need onnxruntime, which cannot be used: {error}. Run `python -m pip install onnxruntime`."
        ) from error
    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:
        raise RuntimeError(
            f"The installed onnxruntime has no {missing[0]}; it offers "
            f"{', '.join(onnxruntime.get_available_providers())}."
        )
    try:
        return onnxruntime.InferenceSession(str(onnx), providers=list(providers))
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail, failures.NoSuchFile) as error:
        if reason := no_onnx(onnx):
            raise ValueError(f"{onnx} {reason}") from error
        raise ValueError(
            f"{onnx} ({onnx.stat().st_size} bytes) is not a complete ONNX file. Download or export it again. "
            f"onnxruntime says: {error}"
        ) from error


def _checked_input(session: Any, card: Card, onnx: Path) -> tuple[Any, int]:
    """The graph's input and its batch size, 0 where any will do."""
    (first, *others) = session.get_inputs()
    wanted = [3, card.size_px, card.size_px] if card.layout == "nchw" else [card.size_px, card.size_px, 3]
    # A dimension without a number is free, and takes what the card says.
    free = [
        side if isinstance(side, int) and side > 0 else expected
        for side, expected in zip(first.shape[1:], wanted, strict=False)
    ]
    if others or len(first.shape) != 4 or free != wanted or first.type not in ("tensor(float)", "tensor(float16)"):
        raise ValueError(
            f"{onnx.name} takes {first.type} {first.shape}{f' and {len(others)} more inputs' if others else ''}; its "
            f"card {card.name} gives one [batch, {', '.join(map(str, wanted))}] of floats. Use the recognizer the card "
            "is written for, or correct size_px and layout."
        )
    return first, first.shape[0] if isinstance(first.shape[0], int) and first.shape[0] > 0 else 0


def _checked_output(session: Any, card: Card, onnx: Path) -> tuple[str, int]:
    """The name of the output with the embeddings, and their length."""
    shapes = {output.name: output.shape for output in session.get_outputs()}
    name = card.output or next(iter(shapes))
    if name not in shapes:
        raise ValueError(f"{onnx.name} has no output {name!r}; it has {', '.join(shapes)}.")
    sizes = shapes[name][1:]
    known = bool(sizes) and all(isinstance(size, int) and size > 0 for size in sizes)
    width = int(np.prod(sizes)) if known else card.vector
    if width < 2 or (card.vector and width != card.vector):
        raise ValueError(
            f"{onnx.name} gives {shapes[name]} as {name!r}, and its card {card.name} says {card.vector} numbers a "
            'face. Correct "vector" or "output" in the card, or use the file it is written for.'
        )
    return name, width
