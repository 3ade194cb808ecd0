"""Photos whose faces are rectangles that say who they are, and small stand-ins for every model prepare.py uses.

A face is a rectangle with red of 200 and more: 200 + person. Green of its first pixel is the number of the photo's
variant, which sets how its embedding differs; blue how far the nose is turned, 128 being straight ahead. All else
in the image is noise that no photo shares with another.
"""

import io
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.configuration.preparing import PrepareSettings
from training.preparing.models import PreparationModels
from withanyone_core.identity import Face

MARK = 200
SAME = 0.6  # cosine of two variants of one person
# Eyes, nose and mouth in fractions of the rectangle, as in ArcFace's template.
POINTS = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]], np.float32)


def direction(*seed: int) -> np.ndarray:
    embedding = np.random.default_rng([7, *seed]).standard_normal(512)
    return embedding / np.linalg.norm(embedding)


def at_cosine(cosine: float, person: int = 1, other: int = 2) -> np.ndarray:
    """A unit vector with this cosine to a person's direction."""
    first, second = direction(person), direction(person, 900 + other)
    second -= (second @ first) * first
    return cosine * first + np.sqrt(1 - cosine**2) * second / np.linalg.norm(second)


def embedding_of(person: int, variant: int) -> np.ndarray:
    """Raw embedding of a face; variant 0 is the person's mean."""
    weight = 1.0 if variant == 0 else SAME
    unit = np.sqrt(weight) * direction(person) + np.sqrt(1 - weight) * direction(person, variant)
    return (20 * unit).astype(np.float32)


class CodedFaces:
    """Reads the rectangles; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def faces(self, photo: np.ndarray) -> tuple[Face, ...]:
        self.asked += 1
        _, _, stats, _ = cv2.connectedComponentsWithStats((photo[..., 0] >= MARK).astype(np.uint8))
        found = []
        for x, y, width, height, area in stats[1:].tolist():
            if area < 16:
                continue
            person, variant, turn = (int(value) for value in photo[y, x])
            points = POINTS * np.array([width, height], np.float32) + np.array([x, y], np.float32)
            points[2, 0] += width * (turn - 128) / 256
            box = (float(x), float(y), float(x + width), float(y + height))
            found.append(Face(box, 0.9, points, embedding_of(person - MARK, variant)))
        return tuple(found)


class SmallImages:
    """Means of 8 x 8 pixels, mixed into 16 channels."""

    def __init__(self, seed: int = 0) -> None:
        self.asked = 0
        self.mix = torch.randn(16, 3, generator=torch.Generator().manual_seed(seed))

    def encode(self, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += 1
        means = torch.from_numpy(cv2.resize(pixels, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)).float()
        mean = torch.einsum("oc,hwc->ohw", self.mix, means / 127.5 - 1)
        return mean, torch.full_like(mean, -6.0)


class SmallTexts:
    names = ("t5", "pooled")

    def __init__(self) -> None:
        self.asked = []
        self.released = False

    def release(self) -> None:
        self.released = True

    def encode(self, text: str) -> dict[str, torch.Tensor]:
        self.asked.append(text)
        numbers = torch.tensor([ord(letter) for letter in text[:8].ljust(8)]).float()
        return {"t5": numbers[:, None].expand(8, 12).contiguous(), "pooled": numbers}


class SmallTokens:
    def __init__(self) -> None:
        self.asked = 0

    def tokens(self, crop: np.ndarray) -> torch.Tensor:
        self.asked += 1
        return torch.from_numpy(cv2.resize(crop, (2, 2), interpolation=cv2.INTER_AREA).reshape(4, 3)).float()


class SecondEmbeddings:
    def __init__(self) -> None:
        self.asked = 0

    def embed(self, photo, faces) -> np.ndarray:
        self.asked += 1
        return np.stack([face.embedding[:24] for face in faces])


def models(**changes) -> PreparationModels:
    """All stand-ins; `changes` replace some of them, or their `fingerprints`."""
    kinds = ("faces", "image", "text", "siglip", "second")
    parts = {
        "faces": CodedFaces(),
        "image": SmallImages(),
        "text": SmallTexts(),
        "siglip": SmallTokens(),
        "second": SecondEmbeddings(),
        "fingerprints": {kind: f"{kind} 1" for kind in kinds},
        "files": {"recognizer.onnx": "ab" * 32},
    }
    return PreparationModels(**{**parts, **changes})


def photo(*faces, seed=0, width=160, height=128) -> np.ndarray:
    """A photo of faces (person, variant[, turn]) from left to right, RGB uint8 [height, width, 3]."""
    rng = np.random.default_rng([seed, *(number for face in faces for number in face)])
    coarse = rng.integers(0, 180, (height // 16, width // 16, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 190)
    place = width // max(len(faces), 1)
    for number, face in enumerate(faces):
        person, variant, turn = (*face, 128)[:3]
        wide, high = min(place - 12, 60), min(height - 20, 70)
        x, y = number * place + (place - wide) // 2, (height - high) // 2
        cell = rng.integers(0, 255, (high, wide, 3)).astype(np.uint8)
        cell[..., 0] = MARK + person
        cell[0, 0] = MARK + person, variant, turn
        image[y : y + high, x : x + wide] = cell
    return image


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def two_people(data: Path, photos: int = 6, negatives: int = 20) -> Path:
    """alice is person 1, bob 2; two photos of both; strangers are 10 and more."""
    for number in range(1, photos + 1):
        turn = 128 + 12 * (number % 5 - 2)
        save(data / f"identities/alice/{number}.png", photo((1, number, turn), seed=number))
        save(data / f"identities/bob/{number}.png", photo((2, number, turn), seed=100 + number))
    save(data / "groups/both.png", photo((2, 30), (1, 31), seed=200, width=256))
    save(data / "groups/three.png", photo((1, 32), (12, 1), (2, 33), seed=201, width=320, height=240))
    for number in range(negatives):
        save(data / f"negatives/{number}.png", photo((20 + number, 1), seed=300 + number))
    return data


def settings(data: Path, cache: Path, **changes) -> PrepareSettings:
    nowhere = str(data / "models")
    values = {
        "data": str(data),
        "cache": str(cache),
        "faces": {"pack": nowhere},
        "encoders": {"vae": nowhere, "t5": nowhere, "clip": nowhere},
        "sizes": (64,),
        "workers": 1,
    }
    return PrepareSettings(**{**values, **changes})
