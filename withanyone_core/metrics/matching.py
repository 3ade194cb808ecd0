"""Which generated face is whom: made once for an image and used for every metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..canvas import BoxPx
from ..tolerance import SLACK, SLACK_PX
from .case import Case, FaceEmbeddings, Method
from .similarity import cosine_matrix, unit

# A face belongs to a box if its middle lies inside, or if they overlap at least this much (intersection over union).
LEAST_OVERLAP = 0.1


@dataclass(frozen=True)
class Matching:
    """For each identity the index of its face in each image, None where there is none.

    method  what the generated faces were told apart by
    notes   about references and ground truth that did not fit, readable
    """

    method: Method
    faces: tuple[int | None, ...]
    truth_faces: tuple[int | None, ...]
    reference_faces: tuple[int | None, ...]
    notes: tuple[str, ...] = ()


def match(case: Case) -> Matching:
    """The one matching of a case.

    Reference: the face with the highest score. Ground truth: by `truth_boxes_px` where given, else the assignment with
    the largest sum of cosines with the references; people without a reference take the faces left over, from left to
    right. Generated image: by `boxes_px` where given, else the assignment with the largest sum of cosines with the
    ground truth, and for people who are not in it, or without ground truth, with the references.
    An identity that gets no face is lost; a face that gets no identity is extra.
    Raises ValueError, naming image and face, for embeddings without a direction.
    """
    check_embeddings(case)
    references, notes = _reference_faces(case)
    anchors = {identity: case.references[identity].embeddings[face] for identity, face in references.items()}
    truths, truth_notes = _truth_faces(case, anchors)
    # Once for all metrics: matched for each again, the faces behind one copy-paste value may be of different people.
    faces, method = _generated_faces(case, anchors, truths)
    everyone = range(case.expected)
    return Matching(
        method,
        tuple(faces.get(identity) for identity in everyone),
        tuple(truths.get(identity) for identity in everyone),
        tuple(references.get(identity) for identity in everyone),
        (*notes, *truth_notes),
    )


def check_embeddings(case: Case) -> None:
    """ValueError, naming image and face, for the first embedding of a case without a direction."""
    unit(case.generated.embeddings, f"the generated image of {case.name}")
    if case.truth is not None:
        unit(case.truth.embeddings, f"the ground truth of {case.name}")
    for identity, reference in enumerate(case.references):
        unit(reference.embeddings, f"the reference of {_who(case, identity)} of {case.name}")


def best_assignment(gains: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of a matrix with the largest sum, each row and column at most once (Hungarian method)."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "Matching faces to people needs the Python package scipy. Run `python -m pip install scipy`."
        ) from error
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def overlaps(boxes_px: np.ndarray, others_px: np.ndarray) -> np.ndarray:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4]."""
    first, second = boxes_px[:, None].astype(np.float64), others_px[None].astype(np.float64)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1) for boxes in (first, second)]
    # Two boxes without area would give 0 / 0.
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def _reference_faces(case: Case) -> tuple[dict[int, int], list[str]]:
    chosen, notes = {}, []
    for identity, reference in enumerate(case.references):
        if reference.count:
            chosen[identity] = int(reference.scores.argmax())
        if reference.count != 1:
            used = "it is left out of Sim(Ref) and copy-paste" if reference.count == 0 else "the highest score counts"
            notes.append(f"The reference of {_who(case, identity)} shows {reference.count} faces; {used}.")
    return chosen, notes


def _truth_faces(case: Case, anchors: dict[int, np.ndarray]) -> tuple[dict[int, int], list[str]]:
    truth = case.truth
    if truth is None:
        return {}, ["There is no ground truth: Sim(GT), copy-paste and blending cannot be computed."]
    if case.truth_boxes_px is not None:
        found = faces_in_boxes(case.truth_boxes_px, truth)
    else:
        found = _alike(anchors, truth, range(truth.count))
        found |= _left_to_right(case, truth, found)
    notes = []
    if truth.count != case.expected:
        notes.append(f"The ground truth shows {truth.count} faces, and {case.expected} were expected.")
    notes += [
        f"{_who(case, identity)} was not found in the ground truth."
        for identity in range(case.expected)
        if identity not in found
    ]
    return found, notes


def _generated_faces(
    case: Case, anchors: dict[int, np.ndarray], truths: dict[int, int]
) -> tuple[dict[int, int], Method]:
    generated = case.generated
    if case.boxes_px is not None:
        return faces_in_boxes(case.boxes_px, generated), "boxes"
    known = {identity: case.truth.embeddings[face] for identity, face in truths.items()} if case.truth else {}
    found = _alike(known, generated, range(generated.count))
    others = {identity: embedding for identity, embedding in anchors.items() if identity not in known}
    free = [face for face in range(generated.count) if face not in found.values()]
    found |= _alike(others, generated, free)
    # Somebody without reference and ground truth can only be counted.
    found |= _left_to_right(case, generated, found, without=(*known, *others))
    return found, "truth" if known else "references"


def _alike(people: dict[int, np.ndarray], faces: FaceEmbeddings, free: Sequence[int]) -> dict[int, int]:
    """The face of each identity with the largest sum of cosines, among the faces that are free."""
    if not people or not free:
        return {}
    identities = list(people)
    targets = unit(np.stack([people[identity] for identity in identities]), "a reference")
    gains = cosine_matrix(targets, unit(faces.embeddings, "an image")[list(free)])
    return {identities[row]: free[column] for row, column in best_assignment(gains)}


def _left_to_right(
    case: Case, faces: FaceEmbeddings, found: dict[int, int], without: Sequence[int] = ()
) -> dict[int, int]:
    """Faces left over for identities that have no reference, both in their order, so that they are at least counted."""
    waiting = [
        identity
        for identity in range(case.expected)
        if identity not in found and identity not in without and not case.references[identity].count
    ]
    # x1 + x2 is twice the middle.
    free = sorted(set(range(faces.count)) - set(found.values()), key=lambda face: faces.boxes_px[face, ::2].sum())
    return dict(zip(waiting, free, strict=False))


def faces_in_boxes(boxes_px: Sequence[BoxPx], faces: FaceEmbeddings) -> dict[int, int]:
    """The face in each box: as many pairs as possible, then the largest overlap."""
    if not faces.count:
        return {}
    places = np.array(boxes_px, dtype=np.float64)
    overlap = overlaps(places, faces.boxes_px)
    middles = (faces.boxes_px[:, :2] + faces.boxes_px[:, 2:]) / 2
    low, high = places[:, None, :2] - SLACK_PX, places[:, None, 2:] + SLACK_PX
    inside = ((middles >= low) & (middles <= high)).all(axis=-1)
    belongs = inside | (overlap >= LEAST_OVERLAP - SLACK)
    one_more_pair = len(places) + 1  # outweighs every overlap together
    pairs = best_assignment(np.where(belongs, one_more_pair + overlap, 0.0))
    # The assignment pairs as many as it can: pairs that do not belong are there for lack of others, at a gain of 0.
    return {identity: face for identity, face in pairs if belongs[identity, face]}


def _who(case: Case, identity: int) -> str:
    name = case.people[identity] if case.people else ""
    return f"person {identity + 1} ({name})" if name else f"person {identity + 1}"
