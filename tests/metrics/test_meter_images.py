"""The meter's images: table, plot, comparison."""

import numpy as np
from withanyone_pack.tests.gray_faces import (
    GrayFaces,
    gray_image,
    person,
    placed,
)
from withanyone_pack.tests.metrics.gray_people import (
    ANN,
    BEN,
    EMBEDDINGS,
    FACES,
    STRANGER,
    TRUTH,
    measured,
)
from withanyone_pack.withanyone_core.meter.comparing import compare
from withanyone_pack.withanyone_core.meter.images.comparison import draw_comparison
from withanyone_pack.withanyone_core.meter.images.plot import draw_plot
from withanyone_pack.withanyone_core.meter.images.sheet import SCALE, scale_colour
from withanyone_pack.withanyone_core.meter.images.table import draw_table

CROPS = [gray_image(ANN), gray_image(BEN)]


def table(*images, **choices):
    found = measured(*images, **choices)
    return draw_table(found, images, CROPS[: len(found.people)])


def has(image, colour):
    return bool((image == np.array(colour, np.uint8)).all(-1).any())


def test_the_table_shows_likeness_loss_and_leakage():
    red = (255, 92, 92)
    fine, lost, leaking = (table(gray_image(*levels)) for levels in ((ANN, BEN), (STRANGER, ANN, 0, 0), (BEN, ANN)))
    assert has(fine, scale_colour(1 / (1 + 1e-7) - 1e-7))
    assert (fine == red).all(-1).sum() < (lost == red).all(-1).sum()
    assert (fine == red).all(-1).sum() < (leaking == red).all(-1).sum()
    assert table(gray_image(ANN, BEN), truth=[TRUTH]).shape[1] > fine.shape[1]


def test_the_table_marks_a_wrong_number_of_faces():
    right, wrong = table(gray_image(ANN, 0), faces=FACES[:1]), table(gray_image(ANN, BEN), faces=FACES[:1])
    assert not has(right, (255, 92, 92))
    assert has(wrong, (255, 92, 92))


def test_tables_grow_with_images_and_end():
    heights = [table(*[gray_image(ANN, BEN)] * count).shape[0] for count in (1, 2, 40, 41)]
    assert heights[1] - heights[0] == 104
    assert heights[3] - heights[2] < 40


def test_the_footer_says_who_judged():
    trained, other = (
        table(gray_image(ANN, BEN), analysis=GrayFaces(EMBEDDINGS, name))
        for name in ("antelopev2/glintr100.onnx", "mine/other.onnx")
    )
    assert trained.shape == other.shape
    assert not np.array_equal(trained[-80:], other[-80:])


def test_plots_of_every_kind_can_be_drawn():
    many = [gray_image(ANN, BEN)] * 30
    for found in (
        measured(gray_image(ANN, BEN)),
        measured(gray_image(0, 0)),
        measured(gray_image(ANN, 0), gray_image(0, 0), truth=[TRUTH]),
        measured(*many, truth=[TRUTH]),
        measured(*many),
        measured(gray_image(ANN, 0), faces=FACES[:1]),
    ):
        assert draw_plot(found).dtype == np.uint8
    plain, copied = measured(gray_image(ANN, BEN)), measured(gray_image(ANN, BEN), truth=[TRUTH])
    assert not np.array_equal(draw_plot(plain), draw_plot(copied))


def test_comparisons_of_every_kind_can_be_drawn():
    for first, second in (
        (measured(gray_image(ANN, BEN)), measured(gray_image(0, 0))),
        (
            measured(gray_image(ANN, BEN), truth=[TRUTH]),
            measured(gray_image(0, 0), gray_image(ANN, BEN), truth=[TRUTH]),
        ),
    ):
        chart = draw_comparison(("a" * 200, "B"), (first, second), compare(first, second, resamples=100))
        assert chart.shape[1] == 1024


def test_long_names_and_faces_at_the_edge_can_be_drawn():
    long = placed(person("Anna " * 40, EMBEDDINGS[ANN]), person("", EMBEDDINGS[BEN]))
    assert table(gray_image(ANN, BEN), faces=long).shape == table(gray_image(ANN, BEN)).shape


def test_colours_of_cosines():
    assert scale_colour(-0.5) == scale_colour(0) == SCALE[0]
    assert scale_colour(1.2) == scale_colour(1) == SCALE[-1]
    assert scale_colour(0.5) == SCALE[2]
