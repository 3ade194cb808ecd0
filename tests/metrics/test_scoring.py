from dataclasses import replace

import numpy as np
import pytest
from withanyone_pack.tests.metrics.made import WIDTH, box, case, image, people, references
from withanyone_pack.withanyone_core.metrics.case import FaceEmbeddings
from withanyone_pack.withanyone_core.metrics.copy_paste import copy_paste
from withanyone_pack.withanyone_core.metrics.matching import match
from withanyone_pack.withanyone_core.metrics.scoring import score_case
from withanyone_pack.withanyone_core.metrics.similarity import angle, cosine_matrix, unit


def test_cosines_are_those_of_numpy():
    embeddings = people(3)
    lengths = np.linalg.norm(embeddings, axis=1)
    expected = embeddings @ embeddings.T / np.outer(lengths, lengths)
    assert np.allclose(cosine_matrix(unit(embeddings, "x"), unit(embeddings, "x")), expected, atol=1e-6)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "all zeros")])
@pytest.mark.parametrize("which", ["generated", "truth", "reference"])
@pytest.mark.parametrize("legacy", [False, True])
def test_embeddings_without_a_direction_are_refused(value, words, which, legacy):
    made = case(2)
    faces = {"generated": made.generated, "truth": made.truth, "reference": made.references[1]}[which]
    faces.embeddings[-1, : WIDTH if value == 0 else 1] = value
    whose = {"generated": "generated image", "truth": "ground truth", "reference": "reference of person 2"}[which]
    face = 1 if which == "reference" else 2
    with pytest.raises(ValueError, match=f"face {face} in the {whose} of made .*{words}"):
        score_case(made, legacy)


def test_the_embeddings_are_looked_at_with_a_given_matching_too():
    made = case(2)
    matching = match(made)
    made.references[1].embeddings[0] = np.nan
    with pytest.raises(ValueError, match="face 1 in the reference of person 2 of made"):
        score_case(made, matching=matching)


def test_embeddings_of_two_recognizers_are_refused():
    longer = FaceEmbeddings.single(np.ones(WIDTH + 1))
    with pytest.raises(ValueError, match="two recognizers"):
        score_case(case(1, references=(longer,)))


def test_angle_survives_rounding_past_one():
    assert angle(1.0000001) == 0.0
    assert angle(-1.0000001) == pytest.approx(np.pi)


def test_copy_paste_is_zero_where_nothing_can_be_said():
    assert copy_paste(0.5, 0.4, 9e-7) == 0.0
    assert copy_paste(1.0, 0.25, 1.5) == 0.5


def test_a_image_against_itself():
    made = case(3)
    scores = score_case(replace(made, generated=made.truth))
    assert scores.sim_gt == pytest.approx(1.0, abs=1e-6)
    assert scores.copy_paste == pytest.approx(-1.0, abs=2e-3)
    assert scores.sim_ref == pytest.approx(np.mean([one.sim_tr for one in scores.identities]), abs=1e-6)
    assert scores.blending < 0.4


def test_a_image_against_its_own_references():
    made = case(3)
    pasted = FaceEmbeddings(
        made.truth.boxes_px, made.truth.scores, np.concatenate([one.embeddings for one in made.references])
    )
    scores = score_case(replace(made, generated=pasted))
    assert scores.sim_ref == pytest.approx(1.0, abs=1e-6)
    assert scores.copy_paste == pytest.approx(1.0, abs=2e-3)


def test_the_angles_are_those_of_the_cosines():
    for one in score_case(case(3)).identities:
        assert one.theta_gt == pytest.approx(np.arccos(one.sim_gt))
        assert one.theta_gr == pytest.approx(np.arccos(one.sim_ref))
        assert one.theta_tr == pytest.approx(np.arccos(one.sim_tr))
        assert one.copy_paste == pytest.approx((one.theta_gt - one.theta_gr) / one.theta_tr)


@pytest.mark.parametrize("placed", [False, True])
def test_permuted_identities_give_the_same_numbers(placed):
    order = [2, 0, 3, 1]
    made = case(4, people=tuple("abcd"), boxes_px=tuple(map(box, range(4))) if placed else None)
    turned = replace(
        made,
        references=tuple(made.references[index] for index in order),
        people=tuple(made.people[index] for index in order),
        boxes_px=tuple(made.boxes_px[index] for index in order) if placed else None,
    )
    before = {one.person: one for one in score_case(made).identities}
    after = score_case(turned)
    for one in after.identities:
        # BLAS may sum in another order at another place of the matrix
        assert one.sim_gt == pytest.approx(before[one.person].sim_gt, abs=1e-12)
        assert one.copy_paste == pytest.approx(before[one.person].copy_paste, abs=1e-9)
        assert one.face == before[one.person].face
    assert after.leakage == pytest.approx(score_case(made).leakage, abs=1e-12)


def test_permuted_faces_give_the_same_numbers():
    made = case(3)
    order = [1, 2, 0]
    seen = made.generated
    turned = replace(made, generated=FaceEmbeddings(seen.boxes_px[order], seen.scores[order], seen.embeddings[order]))
    before, after = score_case(made), score_case(turned)
    assert [order[one.face] for one in after.identities] == [one.face for one in before.identities]
    assert np.allclose([one.sim_gt for one in after.identities], [one.sim_gt for one in before.identities])


def test_a_lost_face_counts_as_zero_and_is_reported():
    who = people(3)
    scores = score_case(case(3, generated=image(who[:2], 0.5, seed=11)))
    whole = score_case(case(3))
    assert scores.lost == (2,)
    assert (scores.found, scores.generated, scores.expected) == (2, 2, 3)
    assert (scores.identities[2].sim_gt, scores.identities[2].sim_ref) == (0.0, 0.0)
    assert scores.identities[2].copy_paste is None
    assert scores.sim_gt == pytest.approx(sum(one.sim_gt for one in whole.identities[:2]) / 3, abs=0.1)
    assert scores.likeness_ref[2] == (None, None, None)
    assert scores.copy_paste == pytest.approx(np.mean([one.copy_paste for one in scores.identities[:2]]))


def test_extra_faces_are_reported_and_change_nothing_else():
    made = case(2)
    seen = made.generated
    stranger = image(people(1, seed=50), places=[5])
    more = FaceEmbeddings(
        np.concatenate([stranger.boxes_px, seen.boxes_px]),
        np.concatenate([stranger.scores, seen.scores]),
        np.concatenate([stranger.embeddings, seen.embeddings]),
    )
    before, after = score_case(made), score_case(replace(made, generated=more))
    assert after.extra_faces == (0,)
    assert after.generated == 3
    assert after.sim_gt == pytest.approx(before.sim_gt)
    assert after.leakage == pytest.approx(before.leakage)


def test_without_ground_truth_only_the_references_speak():
    scores = score_case(case(2, truth=None))
    assert scores.sim_gt is None
    assert scores.copy_paste is None
    assert scores.blending is None
    assert scores.likeness_gt is None
    assert scores.truth_faces is None
    assert scores.sim_ref > 0.5
    assert any("no ground truth" in note for note in scores.notes)


def test_leakage_row_k_column_j_is_how_much_face_k_looks_like_j():
    who = people(2)
    mixed = who[0] + who[1]
    # The face in the second box is half the first person; the first is nobody else.
    made = case(
        2,
        generated=image(np.stack([who[0], mixed])),
        boxes_px=(box(0), box(1)),
        references=(image(who[:1]), image(who[1:])),
    )
    scores = score_case(made)
    assert scores.likeness_ref[0][0] == pytest.approx(1.0, abs=1e-5)
    assert abs(scores.likeness_ref[0][1]) < 0.3
    assert scores.likeness_ref[1][0] > 0.5
    assert scores.leakage == pytest.approx((scores.likeness_ref[0][1] + scores.likeness_ref[1][0]) / 2)
    assert score_case(case(1)).leakage is None


def test_swapped_people_show_in_placed_boxes_and_not_without_them():
    who = people(2)
    swapped = image(who[::-1], 0.3)
    placed = score_case(case(2, generated=swapped, boxes_px=(box(0), box(1))))
    assert placed.sim_gt < 0.3
    assert placed.leakage > 0.6
    assert score_case(case(2, generated=swapped)).sim_gt > 0.6


def test_one_matching_can_serve_several_judges():
    made = case(3)
    other = case(3, generated=image(people(3)[[1, 0, 2]], 0.5))
    scores = score_case(other, matching=match(made))
    assert [one.face for one in scores.identities] == [0, 1, 2]
    assert score_case(other).identities[0].face == 1


def test_legacy_excuses_lost_people_and_refuses_copy_paste():
    who = people(3)
    lost = case(3, generated=image(who[:2], 0.5, seed=11))
    scores = score_case(lost, legacy=True)
    assert scores.method == "independent"
    assert scores.sim_gt > score_case(lost).sim_gt
    assert scores.copy_paste is None
    assert scores.lost == ()
    assert score_case(case(3), legacy=True).copy_paste is not None


def test_legacy_matches_ground_truth_and_references_independently():
    """A face that is one person by ground truth and another by reference: the defect that one matching repairs."""
    who = people(2)
    made = case(
        2,
        generated=image(who),
        truth=image(who),
        references=(image(who[1:]), image(who[:1])),
        truth_boxes_px=(box(0), box(1)),
    )
    assert score_case(made, legacy=True).sim_ref == pytest.approx(1.0, abs=1e-5)
    assert score_case(made).sim_ref < 0.3


def test_legacy_without_references_faces_or_ground_truth():
    who = people(2)
    nobody = image(who[:0])
    assert score_case(case(2, references=(nobody, nobody)), legacy=True).sim_ref is None
    assert score_case(case(2, truth=None), legacy=True).sim_gt is None
    empty = score_case(case(2, generated=nobody), legacy=True)
    assert (empty.sim_gt, empty.identities) == (None, ())
    assert score_case(case(2, references=(nobody, references(who)[1])), legacy=True).identities[0].identity in (-1, 1)
