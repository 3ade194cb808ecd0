"""A case to its scores."""

from collections.abc import Sequence

import numpy as np

from .case import Case, CaseScores, FaceEmbeddings, IdentityScore, Rows
from .copy_paste import copy_paste
from .matching import Matching, best_assignment, check_embeddings, match
from .similarity import angle, cosine_matrix, unit


def score_case(case: Case, legacy: bool = False, matching: Matching | None = None) -> CaseScores:
    """All numbers of one image.

    legacy    the released evaluator's arithmetic: generated faces are matched with the ground truth and with the
              references independently, those left over do not count, and copy-paste exists only where the three have
              as many faces
    matching  made before, so that several judges judge the same faces; else it is made from the case's own embeddings

    Raises ValueError, naming the image, for embeddings without a direction or of different lengths.
    """
    # `match` checks the embeddings itself; these two ways do without it.
    if legacy or matching:
        check_embeddings(case)
    if legacy:
        return _legacy(case)
    matching = matching or match(case)
    generated = unit(case.generated.embeddings, f"the generated image of {case.name}")
    faces = _rows_of(generated, matching.faces)
    references = [
        None if face is None else unit(reference.embeddings, f"a reference of {case.name}")[face]
        for reference, face in zip(case.references, matching.reference_faces, strict=True)
    ]
    truths = [None] * case.expected
    if case.truth is not None:
        truths = _rows_of(unit(case.truth.embeddings, f"the ground truth of {case.name}"), matching.truth_faces)
    likeness_ref, likeness_gt = _likeness(faces, references), _likeness(faces, truths)
    return CaseScores(
        name=case.name,
        group=case.group or case.name,
        method=matching.method,
        identities=tuple(
            _identity_score(
                case,
                matching,
                identity,
                gt=likeness_gt[identity][identity],
                ref=likeness_ref[identity][identity],
                tr=_cosine(truths[identity], references[identity]),
            )
            for identity in range(case.expected)
        ),
        generated=case.generated.count,
        expected=case.expected,
        truth_faces=None if case.truth is None else case.truth.count,
        likeness_ref=likeness_ref,
        likeness_gt=None if case.truth is None else likeness_gt,
        leakage=_off_diagonal_mean(likeness_ref),
        blending=_off_diagonal_mean(likeness_gt),
        extra_faces=tuple(face for face in range(case.generated.count) if face not in matching.faces),
        notes=(*case.notes, *matching.notes),
    )


def _rows_of(units: np.ndarray, chosen: Sequence[int | None]) -> list[np.ndarray | None]:
    return [None if face is None else units[face] for face in chosen]


def _cosine(first: np.ndarray | None, second: np.ndarray | None) -> float | None:
    return None if first is None or second is None else float(cosine_matrix(first[None], second[None])[0, 0])


def _likeness(faces: Sequence[np.ndarray | None], anchors: Sequence[np.ndarray | None]) -> Rows:
    rows, columns = _known(faces), _known(anchors)
    if not rows or not columns:
        return ((None,) * len(anchors),) * len(faces)
    cosines = cosine_matrix(np.stack(list(rows.values())), np.stack(list(columns.values())))
    likeness: list[list[float | None]] = [[None] * len(anchors) for _ in faces]
    for k, values in zip(rows, cosines.tolist(), strict=True):
        for j, value in zip(columns, values, strict=True):
            likeness[k][j] = value
    return tuple(tuple(row) for row in likeness)


def _known(embeddings: Sequence[np.ndarray | None]) -> dict[int, np.ndarray]:
    return {index: embedding for index, embedding in enumerate(embeddings) if embedding is not None}


def _off_diagonal_mean(rows: Rows) -> float | None:
    values = [value for k, row in enumerate(rows) for j, value in enumerate(row) if j != k and value is not None]
    return float(np.mean(values)) if values else None


def _identity_score(
    case: Case, matching: Matching, identity: int, gt: float | None, ref: float | None, tr: float | None
) -> IdentityScore:
    theta_gt, theta_gr, theta_tr = (None if cosine is None else angle(cosine) for cosine in (gt, ref, tr))
    face, truth_face = matching.faces[identity], matching.truth_faces[identity]
    reference_face = matching.reference_faces[identity]
    return IdentityScore(
        identity=identity,
        face=face,
        truth_face=truth_face,
        reference_face=reference_face,
        person=case.people[identity] if case.people else "",
        # The released evaluator leaves lost people out, so that its mean rises with every person a model loses.
        sim_gt=0.0 if face is None and truth_face is not None else gt,
        sim_ref=0.0 if face is None and reference_face is not None else ref,
        sim_tr=tr,
        theta_gt=theta_gt,
        theta_gr=theta_gr,
        theta_tr=theta_tr,
        copy_paste=_copy_paste(theta_gt, theta_gr, theta_tr),
    )


def _copy_paste(theta_gt: float | None, theta_gr: float | None, theta_tr: float | None) -> float | None:
    if theta_gt is None or theta_gr is None or theta_tr is None:
        return None
    return copy_paste(theta_gt, theta_gr, theta_tr)


def _legacy(case: Case) -> CaseScores:
    """One entry a generated face, in their order; `identity` is the reference it was matched with, or -1."""
    # The first detection, as the released evaluator takes it: that of the highest score.
    firsts = [(index, reference.embeddings[0]) for index, reference in enumerate(case.references) if reference.count]
    width = case.generated.width
    generated = unit(case.generated.embeddings, f"the generated image of {case.name}")
    references = unit(
        np.array([embedding for _, embedding in firsts]).reshape(len(firsts), -1 if firsts else width),
        f"the references of {case.name}",
    )
    truth = case.truth or FaceEmbeddings.of((), width=width)
    truths = unit(truth.embeddings, f"the ground truth of {case.name}")
    to_truth, sims_gt, blending = _matched(generated, truths)
    to_reference, sims_ref, leakage = _matched(generated, references)
    equal_counts = len(generated) == len(truths) == len(references)
    identities = []
    for face in range(len(generated)):
        truth_face, column = to_truth.get(face), to_reference.get(face)
        tr = _cosine(*(_at(truths, truth_face), _at(references, column)))
        gt, ref = sims_gt.get(face), sims_ref.get(face)
        thetas = [None if cosine is None else angle(cosine) for cosine in (gt, ref, tr)]
        identities.append(
            IdentityScore(
                identity=-1 if column is None else firsts[column][0],
                face=face,
                truth_face=truth_face,
                reference_face=None if column is None else 0,
                sim_gt=gt,
                sim_ref=ref,
                sim_tr=tr,
                theta_gt=thetas[0],
                theta_gr=thetas[1],
                theta_tr=thetas[2],
                copy_paste=_copy_paste(*thetas) if equal_counts else None,
            )
        )
    return CaseScores(
        name=case.name,
        group=case.group or case.name,
        method="independent",
        identities=tuple(identities),
        generated=len(generated),
        expected=case.expected,
        truth_faces=None if case.truth is None else len(truths),
        leakage=leakage,
        blending=blending,
        notes=case.notes,
        legacy=True,
    )


def _at(units: np.ndarray, row: int | None) -> np.ndarray | None:
    return None if row is None else units[row]


def _matched(rows: np.ndarray, columns: np.ndarray) -> tuple[dict[int, int], dict[int, float], float | None]:
    """Column and cosine of each matched row, and the mean of the entries left over, None where there is none."""
    if not len(rows) or not len(columns):
        return {}, {}, None
    cosines = cosine_matrix(rows, columns)
    pairs = dict(best_assignment(cosines))
    rest = np.ones(cosines.shape, dtype=bool)
    rest[list(pairs), list(pairs.values())] = False
    others = cosines[rest]
    return pairs, {row: float(cosines[row, column]) for row, column in pairs.items()}, _mean_or_none(others)


def _mean_or_none(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None
