"""What the paper reports on MultiID-Bench, to stand beside one's own numbers.

WithAnyone, arXiv 2510.14975 v1: tables 1a (one person), 2a (two people) and 2b (three and four people). Similarities
there are means of the cosines of ArcFace, FaceNet and AdaFace after trimming, with the released evaluator's faults, so
they are landmarks and no like-for-like comparison.
"""

from dataclasses import dataclass

CITATION = "WithAnyone, arXiv 2510.14975 v1, tables 1a, 2a and 2b"


@dataclass(frozen=True)
class Published:
    """One method's row: mean similarity to the ground truth and to the references, and copy-paste."""

    method: str
    truth: float
    reference: float
    copy_paste: float


def _rows(*rows: tuple[str, float, float, float]) -> tuple[Published, ...]:
    return tuple(Published(*row) for row in rows)


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "1": _rows(
        ("DreamO", 0.454, 0.694, 0.303),
        ("OmniGen", 0.398, 0.602, 0.248),
        ("OmniGen2", 0.365, 0.475, 0.142),
        ("FLUX.1 Kontext", 0.324, 0.408, 0.099),
        ("Qwen-Image-Edit", 0.324, 0.409, 0.093),
        ("GPT-4o", 0.425, 0.579, 0.178),
        ("UNO", 0.304, 0.428, 0.141),
        ("USO", 0.401, 0.635, 0.286),
        ("UMO", 0.458, 0.732, 0.359),
        ("UniPortrait", 0.447, 0.677, 0.265),
        ("ID-Patch", 0.426, 0.633, 0.231),
        ("InfiniteYou", 0.439, 0.630, 0.233),
        ("PuLID", 0.452, 0.705, 0.315),
        ("InstantID", 0.464, 0.734, 0.337),
        ("WithAnyone", 0.460, 0.578, 0.144),
    ),
    "2": _rows(
        ("DreamO", 0.359, 0.514, 0.179),
        ("OmniGen", 0.345, 0.529, 0.209),
        ("OmniGen2", 0.283, 0.353, 0.081),
        ("GPT-4o", 0.332, 0.400, 0.061),
        ("UNO", 0.223, 0.274, 0.043),
        ("UMO", 0.328, 0.491, 0.176),
        ("UniPortrait", 0.367, 0.601, 0.254),
        ("ID-Patch", 0.350, 0.517, 0.183),
        ("WithAnyone", 0.405, 0.551, 0.161),
    ),
    # OmniGen is left out: its row repeats the two-person one and is probably a copying error.
    "3-4": _rows(
        ("DreamO", 0.311, 0.427, 0.116),
        ("OmniGen2", 0.288, 0.374, 0.099),
        ("GPT-4o", 0.445, 0.484, 0.048),
        ("UNO", 0.228, 0.276, 0.046),
        ("UMO", 0.318, 0.465, 0.180),
        ("UniPortrait", 0.343, 0.517, 0.178),
        ("ID-Patch", 0.379, 0.543, 0.195),
        ("WithAnyone", 0.414, 0.561, 0.171),
    ),
}
