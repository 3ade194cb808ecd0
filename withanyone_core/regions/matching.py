"""Which place of a layout suits a person best."""

import logging
from collections.abc import Container

from ..faces.portrait import check_same_model
from ..faces.selection import cosines
from ..identity import Identity
from .layout import Layout

LOGGER = logging.getLogger("withanyone")


def best_box(identity: Identity, layout: Layout, taken: Container[int] = ()) -> int:
    """Number (from 1) of the box that is not taken whose face is most like the person, by cosine of ArcFace embeddings.

    However small the likeness is, the best box is the answer: the people of a guide image need not be those who are
    placed. Raises ValueError for a layout without face embeddings, or with those of another recognizer, and where no
    box is free.
    """
    if layout.embeddings is None:
        raise ValueError(
            f"The best match was asked for {identity.name} (box -1), but the layout's boxes have no faces to compare "
            "with. Use Layout from Image, or choose a box by its number, 0 for the next free one."
        )
    check_same_model(identity.name, identity.face_model, "the layout", layout.face_model)
    free = [number for number in range(1, len(layout.boxes) + 1) if number not in taken]
    if not free:
        raise ValueError(
            f"No box is free for {identity.name}: all {len(layout.boxes)} of the layout are taken. Use a guide image "
            "with more people, or choose a box by its number to share it."
        )
    faces = layout.embeddings.numpy()
    likeness = cosines([faces[number - 1] for number in free], identity.arcface.numpy())
    best = int(likeness.argmax())
    LOGGER.info("%s is placed in box %d, with a cosine of %.2f.", identity.name, free[best], likeness[best])
    return free[best]
