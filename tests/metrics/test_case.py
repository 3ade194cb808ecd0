import json

import numpy as np
import pytest
from withanyone_pack.tests.metrics.made import case, image, people, references
from withanyone_pack.withanyone_core.identity import Face
from withanyone_pack.withanyone_core.metrics.case import (
    METRICS,
    Case,
    CaseScores,
    FaceEmbeddings,
    JudgeInfo,
    headline_judges,
)
from withanyone_pack.withanyone_core.metrics.scoring import score_case


def test_faces_of_a_photo_keep_their_boxes_scores_and_own_embeddings():
    found = [
        Face((1.0, 2.0, 3.0, 4.0), 0.75, np.zeros((5, 2), np.float32), np.full(512, index, np.float32))
        for index in (1, 2)
    ]
    faces = FaceEmbeddings.of(found)
    assert (faces.count, faces.width) == (2, 512)
    assert faces.boxes_px.tolist() == [[1, 2, 3, 4]] * 2
    assert faces.scores.tolist() == [0.75, 0.75]
    assert faces.embeddings[:, 0].tolist() == [1, 2]
    assert FaceEmbeddings.of(found, np.ones((2, 7))).embeddings.tolist() == [[1.0] * 7] * 2
    assert FaceEmbeddings.of([]).embeddings.shape == (0, 512)


def test_arrays_of_different_images_are_refused():
    with pytest.raises(ValueError, match=r"boxes \[2, 4\]|Boxes \[2, 4\], scores \[2\] and embeddings \[1, 3\]"):
        FaceEmbeddings(np.zeros((2, 4)), np.zeros(2), np.zeros((1, 3)))


def test_a_case_needs_somebody_and_one_item_a_person():
    with pytest.raises(ValueError, match="made expects nobody"):
        case(2, references=())
    with pytest.raises(ValueError, match="made has 1 people for 2 references"):
        case(2, people=("Ann",))
    with pytest.raises(ValueError, match="made has 3 boxes_px for 2 references"):
        case(2, boxes_px=((0, 0, 1, 1),) * 3)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("changes", [{}, {"truth": None}, {"generated": image(people(1))}])
def test_scores_survive_json(legacy, changes):
    scores = score_case(case(3, **changes, people=("Ann", "Ann", ""), notes=("kept",), group="prompt 1"), legacy)
    line = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert CaseScores.from_json(line) == scores
    assert line["means"] == {metric: scores.value(metric) for metric in METRICS}
    assert scores.group == "prompt 1"
    assert "kept" in scores.notes


def test_a_line_of_something_else_is_refused():
    with pytest.raises(ValueError, match="not a line of scores"):
        CaseScores.from_json({"name": "x"})
    line = score_case(case(1)).to_json()
    with pytest.raises(ValueError, match="not a line of scores"):
        CaseScores.from_json({**line, "surprise": 1})


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="'sim' is no metric"):
        score_case(case(1)).value("sim")


def test_a_judge_used_in_training_is_marked_and_never_the_headline():
    fair, trained = JudgeInfo("AdaFace"), JudgeInfo("ArcFace", trained_with=True)
    assert headline_judges([trained, fair]) == (fair,)
    assert headline_judges([trained]) == ()
    assert (fair.label, trained.label) == ("AdaFace", "ArcFace (used in training)")


def test_people_of_one_name_are_told_apart_by_number():
    scores = score_case(case(2, people=("Ann", "Ann"), references=(references(people(1))[0], image(people(0)))))
    assert [score.person for score in scores.identities] == ["Ann", "Ann"]
    assert any("person 2 (Ann)" in note for note in scores.notes)


def test_case_is_made_of_what_it_was_given():
    made = case(2)
    assert isinstance(made, Case)
    assert made.expected == 2
