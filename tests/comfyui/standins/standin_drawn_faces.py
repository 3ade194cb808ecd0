"""A face analysis for drawn people: it knows their colours, and makes up an embedding for each time it sees one."""

import numpy as np
from comfy_api.latest import io

from .standin_drawing import PEOPLE, boxes_px
from .standin_faces import ARCFACE_WIDTH, NORM, TEMPLATE_PX, module_of_pack

VARIETY = 0.55  # how far two images of one person are apart, as a length added to a direction


class DrawnFaces:
    """Answers as the pack's own face analysis does."""

    def faces(self, photo: np.ndarray) -> tuple:
        face = module_of_pack("withanyone_core.identity").Face
        return tuple(face(box, 0.9, in_box(box), made_up(name, box)) for name, box in boxes_px(photo).items())


def in_box(box_px: tuple[float, float, float, float]) -> np.ndarray:
    """ArcFace's five points on a head."""
    x1, y1, x2, y2 = box_px
    return (TEMPLATE_PX / 112 * [x2 - x1, y2 - y1] + [x1, y1]).astype(np.float32)


def made_up(name: str, box_px: tuple[float, float, float, float]) -> np.ndarray:
    """A direction for each person, and beside it one that goes by where the head is."""
    own, other = np.random.default_rng(list(PEOPLE).index(name)), np.random.default_rng(int(sum(box_px)))
    embeddings = [random.standard_normal(ARCFACE_WIDTH) for random in (own, other)]
    own_direction, other_direction = (embedding / np.linalg.norm(embedding) for embedding in embeddings)
    return (NORM * (own_direction + VARIETY * other_direction)).astype(np.float32)


class StandinDrawnFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StandinDrawnFaces",
            display_name="Stand-in: drawn people",
            category="standins",
            inputs=[],
            outputs=[io.Custom("WITHANYONE_FACE_ANALYSIS").Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(DrawnFaces())
