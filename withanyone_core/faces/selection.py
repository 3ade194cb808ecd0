"""Which face of a photo is meant."""

from collections.abc import Sequence

import numpy as np

from ..identity import Face, Identity

LIKE = "like this identity"
RULES = ("best score", "largest", "left to right", "exactly one", LIKE)
# Two strangers have a cosine of 0 give or take 0.1, photos of one person 0.4 and more and rarely under 0.25, across
# decades or in profile. A face below this is somebody else far more often than a hard photo.
LEAST_LIKENESS = 0.2


class NoFace(ValueError):
    """A photo in which no face was found; the message says which, and `advice` what to do about it."""

    advice = (
        "Try a photo with the whole head in it and the face not covered, a lower det_threshold in Load Face Analysis, "
        "or another det_size: smaller if the face fills the photo, larger if it is tiny."
    )


class NobodyAlike(NoFace):
    """A photo with faces, none of which is like the given identity."""

    advice = "Try another photo of this person, or choose the face by another rule."


def area_px(face: Face) -> float:
    """Area of a face's box in square pixels."""
    x1, y1, x2, y2 = face.box_px
    return (x2 - x1) * (y2 - y1)


def left_to_right(faces: Sequence[Face]) -> list[int]:
    """Indices of the faces in the order in which their middles stand in the photo."""
    # x1 + x2 is twice the middle.
    return sorted(range(len(faces)), key=lambda index: faces[index].box_px[0] + faces[index].box_px[2])


def faces_by_number(faces: Sequence[Face], numbers: str) -> list[Face]:
    """Faces from left to right, or those whose numbers (from 1 for the leftmost) are written, as in "1,3".

    Raises ValueError for anything but numbers of faces that are there, or one written twice.
    """
    ordered = [faces[index] for index in left_to_right(faces)]
    words = numbers.replace(",", " ").split()
    if not words:
        return ordered
    known = {str(number): face for number, face in enumerate(ordered, 1)}
    wrong = [word for word in words if word not in known] or [word for word in words if words.count(word) > 1]
    if wrong:
        raise ValueError(
            f"which_faces reads '{numbers.strip()}', but '{wrong[0]}' is not one of the faces found, 1 to "
            f"{len(ordered)} from the left, or is written twice. Leave it empty for all of them."
        )
    return [known[word] for word in words]


def cosines(embeddings: Sequence[np.ndarray], embedding: np.ndarray) -> np.ndarray:
    """Cosine of each ArcFace embedding [512] with `embedding` [512], float64 [faces]; -1 where one has no direction."""
    stacked = np.stack(embeddings).astype(np.float64)
    lengths = np.linalg.norm(stacked, axis=1) * np.linalg.norm(embedding.astype(np.float64))
    usable = np.isfinite(lengths) & (lengths > 0)
    products = np.where(usable[:, None], stacked, 0.0) @ embedding
    return np.where(usable, products / np.where(usable, lengths, 1.0), -1.0)


def chosen_face(faces: Sequence[Face], rule: str, number: int, label: str, like: Identity | None = None) -> int:
    """Index of the face that `rule` chooses among at least one face, given by descending score.

    "best score" takes the first, as the released program does; "left to right" the `number`-th from the left (from 1);
    "like this identity" the one whose ArcFace embedding has the highest cosine with that of `like`.
    Raises ValueError, naming the photo by `label`, where the photo does not fit the rule, and NobodyAlike where no
    face reaches a cosine of LEAST_LIKENESS.
    """
    if rule == LIKE:
        return _most_alike(faces, like, label)
    if rule == "best score":
        return 0
    if rule == "largest":
        # Of equal areas the first, whose score is the higher.
        return max(range(len(faces)), key=lambda index: area_px(faces[index]))
    if rule == "left to right":
        if not 1 <= number <= len(faces):
            raise ValueError(
                f"Face {number} from the left was asked for, but {label} shows {_count(faces)}. "
                f"Choose face_index 1 to {len(faces)}, or lower det_threshold in Load Face Analysis to find more."
            )
        return left_to_right(faces)[number - 1]
    if rule == "exactly one":
        if len(faces) > 1:
            raise ValueError(
                f"{label[0].upper()}{label[1:]} shows {_count(faces)}, and which_face asks for exactly one. "
                'Crop the photo to one person, or choose the face by "largest" or "left to right".'
            )
        return 0
    raise ValueError(f"which_face is {rule!r}; expected one of {', '.join(RULES)}.")


def _most_alike(faces: Sequence[Face], like: Identity | None, label: str) -> int:
    if like is None:
        raise ValueError(f'which_face is "{LIKE}", but no identity is connected to "like"; connect one.')
    likeness = cosines([face.embedding for face in faces], like.arcface.numpy())
    best = int(likeness.argmax())
    if likeness[best] < LEAST_LIKENESS:
        raise NobodyAlike(
            f"No face in {label} is like {like.name}: the nearest of {_count(faces)} has a cosine of "
            f"{likeness[best]:.2f} and {LEAST_LIKENESS:.2f} is the least that passes."
        )
    return best


def _count(faces: Sequence[Face]) -> str:
    scores = ", ".join(f"{face.score:.2f}" for face in faces)
    return f"{len(faces)} face{'s' if len(faces) > 1 else ''} (score {scores})"
