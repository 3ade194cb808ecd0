"""Ann and Ben in images of gray faces, and the meter on them."""

import numpy as np
from withanyone_pack.tests.gray_faces import (
    GrayFaces,
    at_angle,
    direction,
    gray_image,
    person,
    placed,
)
from withanyone_pack.withanyone_core.meter.measuring import Meter

# Ann's reference is axis 0, her other look (the truth) lies 0.5 away; Ben's are axes 2 and 3.
ANN, ANN_TRUE, BEN, BEN_TRUE, MIX, STRANGER = 40, 50, 80, 90, 120, 160
EMBEDDINGS = {
    ANN: 20 * at_angle(0.0, 0, 1),
    ANN_TRUE: 20 * at_angle(0.5, 0, 1),
    BEN: 20 * at_angle(0.0, 2, 3),
    BEN_TRUE: 20 * at_angle(0.5, 2, 3),
    MIX: 20 * at_angle(np.pi / 4, 0, 2),
    STRANGER: 20 * direction(0, 0, 0, 0, 1),
}
PEOPLE = person("Ann", EMBEDDINGS[ANN]), person("Ben", EMBEDDINGS[BEN])
FACES = placed(*PEOPLE)
TRUTH = gray_image(ANN_TRUE, BEN_TRUE)


def measured(*images, faces=FACES, analysis=None, **against):
    return Meter(faces, analysis or GrayFaces(EMBEDDINGS), **against).measure(images)
