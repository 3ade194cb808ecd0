"""What is measured and what comes out: faces as embeddings, one case, its scores, and who judged.

Whoever has detected and embedded the faces of an image makes a `Case` of them; `scoring.score_case` makes `CaseScores`
of that, and `summary.summarize` reads nothing else, so that every summary can be made again from the per-case lines.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from ..canvas import BoxPx
from ..identity import Face

Rows = tuple[tuple[float | None, ...], ...]
Method = Literal["boxes", "truth", "references", "independent"]
METRICS = ("sim_gt", "sim_ref", "copy_paste", "leakage", "blending")


@dataclass(frozen=True, eq=False)
class FaceEmbeddings:
    """The faces of one image as one judge sees them, by descending detection score.

    boxes_px  float32 [n, 4], (x1, y1, x2, y2) in pixels of the image
    scores    float32 [n], detection scores 0 to 1
    embeddings   float32 [n, d], raw, not normalized

    Raises ValueError where the three do not fit together. Unusable numbers are refused later, with the case's name.
    """

    boxes_px: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.scores)
        if (
            self.boxes_px.shape != (n, 4)
            or self.scores.shape != (n,)
            or len(self.embeddings) != n
            or self.embeddings.ndim != 2
        ):
            raise ValueError(
                f"Boxes {list(self.boxes_px.shape)}, scores {list(self.scores.shape)} and embeddings "
                f"{list(self.embeddings.shape)} are not those of one image; expected [n, 4], [n] and [n, d]."
            )

    @property
    def count(self) -> int:
        return len(self.scores)

    @property
    def width(self) -> int:
        """Length of each embedding."""
        return self.embeddings.shape[1]

    @classmethod
    def of(cls, faces: Sequence[Face], embeddings: np.ndarray | None = None, width: int = 512) -> "FaceEmbeddings":
        """Detected faces with a judge's embeddings [n, d] for them, or with the faces' own.

        `width` is the embeddings' length where there is no face at all.
        """
        if embeddings is None:
            # Without faces NumPy cannot infer a -1.
            embeddings = np.array([face.embedding for face in faces], dtype=np.float32).reshape(
                len(faces), -1 if faces else width
            )
        return cls(
            boxes_px=np.array([face.box_px for face in faces], dtype=np.float32).reshape(-1, 4),
            scores=np.array([face.score for face in faces], dtype=np.float32),
            embeddings=np.asarray(embeddings, dtype=np.float32),
        )

    @classmethod
    def single(cls, embedding: np.ndarray) -> "FaceEmbeddings":
        """One embedding [d] of which no box is known, such as that of an Identity."""
        return cls(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.asarray(embedding, np.float32)[None])


@dataclass(frozen=True, eq=False)
class Case:
    """One generated image, who should be in it, and what it is compared with. All embeddings are one judge's.

    name            of the image; names the line of the report
    generated       all faces found in the generated image
    truth           all faces found in the ground truth, or None without one
    references      for each identity the faces found in that person's reference image; none or several are noted,
                    and of several the first (highest score) counts
    boxes_px        for each identity the box it was placed in, in pixels of the generated image, or None
    truth_boxes_px  for each identity its face's box in pixels of the ground truth, or None where unknown
    people          a name for each identity, may be empty; names need not differ, since identities are numbered
    group           what several images of one prompt share; they are resampled together. Empty: the name
    notes           about unusable inputs, readable, copied to the scores

    Raises ValueError where nobody is expected, or a list is not one item an identity.
    """

    name: str
    generated: FaceEmbeddings
    truth: FaceEmbeddings | None
    references: tuple[FaceEmbeddings, ...]
    boxes_px: tuple[BoxPx, ...] | None = None
    truth_boxes_px: tuple[BoxPx, ...] | None = None
    people: tuple[str, ...] = ()
    group: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = len(self.references)
        if expected == 0:
            raise ValueError(f"{self.name} expects nobody: it has no references. A case needs one for each person.")
        given = {"boxes_px": self.boxes_px, "truth_boxes_px": self.truth_boxes_px, "people": self.people or None}
        for what, items in given.items():
            if items is not None and len(items) != expected:
                raise ValueError(f"{self.name} has {len(items)} {what} for {expected} references; expected as many.")

    @property
    def expected(self) -> int:
        return len(self.references)


@dataclass(frozen=True)
class IdentityScore:
    """One identity in one image.

    identity         its index among the references, from 0
    person           its name, or empty
    face             index of the generated face taken for it, None where it was lost
    truth_face       index of its face in the ground truth, None where unknown
    reference_face   index of its face in its reference image, None where that shows no face
    sim_gt, sim_ref  cosines -1..1 of the generated face with ground truth and reference. A lost face counts as 0;
                     None only where there is nothing to compare with
    sim_tr           cosine of ground truth and reference, None where one of them is missing
    theta_*          angles in radians: generated to truth (gt), generated to reference (gr), truth to reference (tr)
    copy_paste       (theta_gt - theta_gr) / theta_tr, +1 for the reference itself, -1 for the ground truth itself;
                     None for a lost face or where one of the three is missing
    """

    identity: int
    face: int | None
    truth_face: int | None = None
    reference_face: int | None = None
    person: str = ""
    sim_gt: float | None = None
    sim_ref: float | None = None
    sim_tr: float | None = None
    theta_gt: float | None = None
    theta_gr: float | None = None
    theta_tr: float | None = None
    copy_paste: float | None = None

    @property
    def lost(self) -> bool:
        return self.face is None


@dataclass(frozen=True)
class CaseScores:
    """The scores of one image: one line of the report.

    method        what the one matching went by: placed boxes, ground truth, references; "independent" is the legacy
                  arithmetic, which matches for each metric again
    identities    in the order of the references; in the legacy arithmetic one entry a generated face, in their order
    likeness_ref  [k][j] cosine of the face taken for identity k with the reference of identity j, so row k, column j
                  says how much k's face looks like j. None where k was lost or j has no reference
    likeness_gt   the same against the ground truth's face of identity j; None without ground truth
    leakage       mean of the entries of likeness_ref off the diagonal, None where there is none (one person)
    blending      the same of likeness_gt, the paper's "Bld"
    generated, expected, truth_faces   numbers of faces; truth_faces is None without ground truth
    extra_faces   indices of generated faces that belong to nobody
    """

    name: str
    method: Method
    identities: tuple[IdentityScore, ...]
    generated: int
    expected: int
    truth_faces: int | None
    likeness_ref: Rows = ()
    likeness_gt: Rows | None = None
    leakage: float | None = None
    blending: float | None = None
    extra_faces: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    group: str = ""
    legacy: bool = False

    @property
    def lost(self) -> tuple[int, ...]:
        """Indices of the identities without a face in the image."""
        return tuple(score.identity for score in self.identities if score.lost)

    @property
    def found(self) -> int:
        return sum(not score.lost for score in self.identities)

    @property
    def sim_gt(self) -> float | None:
        """Mean over identities, lost ones as 0; None without ground truth."""
        return _mean([score.sim_gt for score in self.identities])

    @property
    def sim_ref(self) -> float | None:
        return _mean([score.sim_ref for score in self.identities])

    @property
    def copy_paste(self) -> float | None:
        """Mean over the identities that have one: those found, with ground truth and reference."""
        return _mean([score.copy_paste for score in self.identities])

    def value(self, metric: str) -> float | None:
        """The image's number for one of METRICS."""
        if metric not in METRICS:
            raise ValueError(f"{metric!r} is no metric; expected one of {', '.join(METRICS)}.")
        return getattr(self, metric)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings; the image's means are added for readers and ignored by `from_json`."""
        return {**asdict(self), "means": {metric: self.value(metric) for metric in METRICS}}

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> "CaseScores":
        """The scores whose `to_json` was written. Raises ValueError for a line that is something else."""
        values = {key: value for key, value in line.items() if key != "means"}
        try:
            return cls(
                **{
                    **values,
                    "identities": tuple(IdentityScore(**identity) for identity in values["identities"]),
                    "likeness_ref": _rows(values["likeness_ref"]),
                    "likeness_gt": None if values["likeness_gt"] is None else _rows(values["likeness_gt"]),
                    "extra_faces": tuple(values["extra_faces"]),
                    "notes": tuple(values["notes"]),
                }
            )
        except (TypeError, KeyError) as error:
            expected = ", ".join(field.name for field in fields(cls))
            raise ValueError(f"This is not a line of scores ({error}); expected the fields {expected}.") from error


@dataclass(frozen=True)
class JudgeInfo:
    """Who judged. One that was `trained_with` (used in a training loss) is marked in reports and never the headline."""

    name: str
    trained_with: bool = False

    @property
    def label(self) -> str:
        return f"{self.name} (used in training)" if self.trained_with else self.name


def headline_judges(judges: Sequence[JudgeInfo]) -> tuple[JudgeInfo, ...]:
    """The judges whose numbers may stand on top of a report; none where all were used in training."""
    return tuple(judge for judge in judges if not judge.trained_with)


def _rows(rows: Sequence[Sequence[float | None]]) -> Rows:
    return tuple(tuple(row) for row in rows)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
