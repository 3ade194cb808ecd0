"""Which face of a photo is meant."""

from collections.abc import Sequence

from ..identity import Face

RULES = ("best score", "largest", "left to right", "exactly one")


def area_px(face: Face) -> float:
    """Area of a face's box in square pixels."""
    x1, y1, x2, y2 = face.box_px
    return (x2 - x1) * (y2 - y1)


def left_to_right(faces: Sequence[Face]) -> list[int]:
    """Indices of the faces in the order in which their middles stand in the photo."""
    return sorted(range(len(faces)), key=lambda index: faces[index].box_px[0] + faces[index].box_px[2])


def chosen_face(faces: Sequence[Face], rule: str, number: int, label: str) -> int:
    """Index of the face that `rule` chooses among at least one face, given by descending score.

    "best score" takes the first, as the released program does; "left to right" the `number`-th from the left (from 1).
    Raises ValueError, naming the photo by `label`, where the photo does not fit the rule.
    """
    if rule == "best score":
        return 0
    if rule == "largest":
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


def _count(faces: Sequence[Face]) -> str:
    scores = ", ".join(f"{face.score:.2f}" for face in faces)
    return f"{len(faces)} face{'s' if len(faces) > 1 else ''} (score {scores})"
