"""The evaluator on real photographs with a real detector and recognizer."""

import json
from itertools import count

import numpy as np
import pytest
from withanyone_pack.tests.training.people import OwnEmbeddings, analysis, person, write_case, write_cases
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.evaluate import LINES, evaluate
from training.evaluation.models import make_evaluation_models
from training.evaluation.reading import read_cases
from training.evaluation.report import summary_of
from withanyone_core.metrics.case import METRICS, JudgeInfo


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Where faces are kept, so that each photograph is searched once for the whole file."""
    return tmp_path_factory.mktemp("store")


def both_judges():
    return [OwnEmbeddings("part", trained_with=True, numbers=96), OwnEmbeddings()]


def evaluated(photos, store, out, judges=None, seed=0, **choices):
    evaluation_models = make_evaluation_models(analysis(), "MTCNN", judges or both_judges(), store, **choices)
    return evaluate(read_cases(photos), evaluation_models, out, seed, "ours")


@pytest.fixture(scope="module")
def report(photos, store, tmp_path_factory):
    return evaluated(photos, store, tmp_path_factory.mktemp("out"))


def line(report, name):
    (found,) = [line for line in report["cases"] if line["case"] == name]
    return found


def means(report, name, judge="MobileFaceNet"):
    return line(report, name)["scores"][judge]["means"]


def test_a_pasted_photo_is_found_out(report):
    copied = means(report, "copied")
    assert copied["sim_ref"] > 0.9 > copied["sim_gt"]
    assert copied["copy_paste"] > 0.5


def test_another_photo_of_the_person_is_alike_and_no_copy(report):
    alike = means(report, "alike")
    assert alike["sim_gt"] > alike["sim_ref"]
    assert alike["copy_paste"] < 0


def test_a_stranger_is_not_alike(report):
    assert means(report, "stranger")["sim_ref"] < 0.3
    assert means(report, "stranger")["sim_gt"] < 0.3


def test_everybody_is_found_whoever_stands_where(report):
    for name, people in (("pair", 2), ("three", 3)):
        scores = line(report, name)["scores"]["MobileFaceNet"]
        assert [identity["face"] for identity in scores["identities"]].count(None) == 0
        assert scores["expected"] == scores["generated"] == people
        assert scores["means"]["leakage"] < 0.3 < scores["means"]["sim_ref"]


def test_a_lost_person_counts_as_nothing_and_is_reported(report):
    scores = line(report, "half_a_pair")["scores"]["MobileFaceNet"]
    (lost,) = [identity for identity in scores["identities"] if identity["face"] is None]
    assert (lost["sim_gt"], lost["sim_ref"]) == (0.0, 0.0)
    assert report["summary"]["2"]["headline"]["detection_rate"]["mean"] == 0.75


def test_without_ground_truth_the_rest_is_measured_and_it_is_said(report):
    values = means(report, "no_truth")
    assert values["sim_ref"] > 0.9
    assert values["sim_gt"] is values["copy_paste"] is None
    assert report["counts"] == {"cases": 7, "measured": 7, "without_ground_truth": 1, "with_notes": 1}
    notes = line(report, "no_truth")["scores"]["MobileFaceNet"]["notes"]
    assert notes == ["There is no ground truth: Sim(GT), copy-paste and blending cannot be computed."]


def test_the_subsets_are_the_papers(report):
    assert {subset: summary["judges"]["part"]["images"] for subset, summary in report["summary"].items()} == {
        "1": 4,
        "2": 2,
        "3-4": 1,
        "all": 7,
    }


def test_every_summary_can_be_made_again_from_the_lines(report):
    again = json.loads(json.dumps(report))
    judges = [JudgeInfo(**judge) for judge in again["judges"]]
    assert summary_of(again["cases"], judges, again["seed"], again["legacy"]) == report["summary"]


@pytest.mark.parametrize("metric", METRICS)
def test_the_mean_is_the_mean_of_the_lines(report, metric):
    for subset in ("1", "2", "3-4"):
        lines = [line for line in report["cases"] if line["subset"] == subset]
        values = [line["scores"]["MobileFaceNet"]["means"][metric] for line in lines]
        known = [value for value in values if value is not None]
        found = report["summary"][subset]["headline"][metric]
        if not known:
            assert found is None
            continue
        assert found["mean"] == pytest.approx(np.mean(known), abs=1e-12)
        assert found["n"] == len(known)
        assert found["n_missing"] == len(values) - len(known)


def test_a_judge_used_in_training_is_marked_and_never_the_headline(report, photos, store, tmp_path):
    assert [judge["name"] for judge in report["judges"]] == ["MobileFaceNet", "part"]
    summary = report["summary"]["all"]
    assert summary["headline"]["sim_gt"] == summary["judges"]["MobileFaceNet"]["metrics"]["sim_gt"]
    alone = evaluated(photos, store, tmp_path, [OwnEmbeddings("part", trained_with=True, numbers=96)])
    assert alone["summary"]["all"]["headline"] is None
    text = (tmp_path / "report.md").read_text()
    assert "No headline: every judge was used in training" in text
    assert "## part (used in training)" in text


def test_two_impartial_judges_are_averaged(photos, store, tmp_path):
    report = evaluated(photos, store, tmp_path, [OwnEmbeddings("first"), OwnEmbeddings("second", numbers=120)])
    both = [means(report, "copied", judge)["sim_gt"] for judge in ("first", "second")]
    assert both[0] != both[1]
    values = [report["summary"]["3-4"]["judges"][judge]["metrics"]["sim_gt"]["mean"] for judge in ("first", "second")]
    assert report["summary"]["3-4"]["headline"]["sim_gt"]["mean"] == pytest.approx(np.mean(values), abs=1e-12)


def test_the_report_for_people(report, photos, store, tmp_path):
    evaluated(photos, store, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "7 of 7 cases measured, 1 of them without ground truth" in text
    assert "| one person | 4 |" in text
    assert "| three and four people | 1 |" in text
    assert "![Sim(GT) against copy-paste](plot.svg)" in text
    drawing = (tmp_path / "plot.svg").read_text()
    assert drawing.count(">ours<") == 3
    assert drawing.count(">WithAnyone<") == 3
    assert "arXiv 2510.14975" in drawing


def test_the_same_to_the_last_digit_for_a_seed(photos, store, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        evaluated(photos, store, tmp_path / name, seed=seed)
    files = {name: (tmp_path / name / "report.json").read_bytes() for name in "abc"}
    assert files["a"] == files["b"] != files["c"]


# Resuming


def test_an_interrupted_run_goes_on_and_ends_the_same(photos, store, tmp_path):
    class Interrupted(OwnEmbeddings):
        def embed(self, photo, faces):
            if self.calls > 7:
                raise KeyboardInterrupt
            return super().embed(photo, faces)

    whole = evaluated(photos, store, tmp_path / "whole", [OwnEmbeddings("new")])
    with pytest.raises(KeyboardInterrupt):
        evaluated(photos, tmp_path / "other", tmp_path / "cut", [Interrupted("new")])
    kept = (tmp_path / "cut" / LINES).read_text().splitlines()
    assert 0 < len(kept) < len(whole["cases"])
    with (tmp_path / "cut" / LINES).open("a") as stream:
        stream.write('{"case": "half a line')
    judge = OwnEmbeddings("new")
    assert evaluated(photos, tmp_path / "other", tmp_path / "cut", [judge]) == whole
    assert (tmp_path / "cut" / "report.json").read_bytes() == (tmp_path / "whole" / "report.json").read_bytes()
    assert judge.calls < 20


def test_nothing_is_measured_twice_until_something_changes(store, tmp_path):
    cases = tmp_path / "cases"
    write_case(cases / "a", person(3), None, [person(3)])
    write_case(cases / "b", person(4), None, [person(4)])

    numbers = count()

    def calls(**choices):
        """How often a judge is asked, with no embeddings kept but those of the lines."""
        judge = OwnEmbeddings()
        evaluated(
            cases, tmp_path / f"store {next(numbers)}", tmp_path / "out", [choices.pop("judge", judge)], **choices
        )
        return judge.calls

    assert calls() == 4
    assert calls() == 0
    write_case(cases / "b", person(4), None, [person(3)])
    assert calls() == 2
    write_case(cases / "a", person(3), None, [person(3)], prompt="another")
    assert calls() == 2
    assert calls(legacy=True) == 3  # both cases have one reference now
    changed = OwnEmbeddings()
    changed.fingerprint = "another file"
    calls(judge=changed)
    assert changed.calls == 3


# Bad input


def notes_of(folder, store, tmp_path, **choices):
    report = evaluated(folder, store, tmp_path / "out", [OwnEmbeddings()], **choices)
    return report, {line["case"]: line for line in report["cases"]}


def test_what_cannot_be_read_is_named_and_counted_and_the_rest_is_measured(store, tmp_path):
    cases = tmp_path / "cases"
    good = person(4)
    write_case(cases / "good", good, good, [good])
    write_case(cases / "no_image", None, good, [good])
    write_case(cases / "broken_image", good, good, [good])
    (cases / "broken_image" / "out.jpg").write_bytes(b"no image")
    write_case(cases / "empty_image", good, good, [good])
    (cases / "empty_image" / "out.jpg").write_bytes(b"")
    write_case(cases / "broken_truth", good, good, [good])
    (cases / "broken_truth" / "ori.jpg").write_bytes(b"no image")
    write_case(cases / "broken_reference", good, good, [good])
    (cases / "broken_reference" / "ref_1.jpg").write_bytes(b"no image")
    write_case(cases / "nobody", good, good, [])
    write_case(cases / "broken_meta", good, good, [good])
    (cases / "broken_meta" / "meta.json").write_text("{")
    write_case(cases / "twice", good, good, [good])
    (cases / "twice" / "ref_01.jpg").write_bytes((cases / "twice" / "ref_1.jpg").read_bytes())
    report, lines = notes_of(cases, store, tmp_path)
    assert (report["counts"]["cases"], report["counts"]["measured"]) == (9, 3)
    assert {name: line["fault"] for name, line in lines.items() if "fault" in line} == {
        "no_image": "the generated image is missing",
        "broken_image": "out.jpg (8 bytes) cannot be read as an image",
        "empty_image": "out.jpg is empty",
        "nobody": "there is no reference: nobody knows who should be in the image",
        "broken_meta": "meta.json cannot be read as JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
        "twice": "ref_01.jpg and ref_1.jpg are both ref_1; keep one of them",
    }
    assert "Unreadable: ori.jpg (8 bytes) cannot be read as an image." in lines["broken_truth"]["notes"]
    broken = lines["broken_reference"]["scores"]["MobileFaceNet"]
    assert broken["means"]["sim_ref"] is None
    assert broken["means"]["sim_gt"] > 0.99
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Not measured: 6" in text
    assert "* nobody: there is no reference" in text


def test_references_with_no_face_or_two(store, tmp_path):
    cases = tmp_path / "cases"
    wall = np.full((200, 200, 3), 128, np.uint8)
    both = np.concatenate([person(0), person(0)[:, ::-1]], axis=1)
    write_case(cases / "none", person(4), person(4), [wall])
    write_case(cases / "two", person(0), person(0), [both])
    _, lines = notes_of(cases, store, tmp_path)
    assert lines["none"]["scores"]["MobileFaceNet"]["means"]["sim_ref"] is None
    notes = [lines[name]["scores"]["MobileFaceNet"]["notes"] for name in ("none", "two")]
    assert notes == [
        ["The reference of person 1 shows 0 faces; it is left out of Sim(Ref) and copy-paste."],
        ["The reference of person 1 shows 2 faces; the highest score counts."],
    ]


def test_a_image_without_any_face(store, tmp_path):
    cases = tmp_path / "cases"
    write_case(cases / "empty", np.full((200, 200, 3), 128, np.uint8), person(4), [person(4)])
    report, lines = notes_of(cases, store, tmp_path)
    values = lines["empty"]["scores"]["MobileFaceNet"]["means"]
    assert (values["sim_gt"], values["sim_ref"], values["copy_paste"]) == (0.0, 0.0, None)
    assert report["summary"]["1"]["headline"]["detection_rate"]["mean"] == 0.0


def test_numbers_that_are_none_are_refused_for_that_judge_alone(tmp_path):
    class Broken(OwnEmbeddings):
        def embed(self, photo, faces):
            return super().embed(photo, faces) * np.nan

    cases = tmp_path / "cases"
    write_case(cases / "a", person(4), None, [person(4)])
    report = evaluated(cases, tmp_path / "store", tmp_path / "out", [OwnEmbeddings(), Broken("zzz")])
    (found,) = report["cases"]
    assert list(found["scores"]) == ["MobileFaceNet"]
    assert list(found["refused"]) == ["zzz"]
    assert "zzz: " in (tmp_path / "out" / "report.md").read_text()
    report = evaluated(cases, tmp_path / "store", tmp_path / "alone", [Broken("zzz")])
    assert report["counts"]["measured"] == 0
    assert report["cases"][0]["fault"].startswith("no judge could judge it. ")
    assert "## Not measured: 1" in (tmp_path / "alone" / "report.md").read_text()


def test_boxes_tell_who_is_whom_and_need_to_be_as_many(store, tmp_path):
    cases = tmp_path / "cases"
    pair = np.concatenate([person(0)[:240], person(1)[:240]], axis=1)
    middle = person(0).shape[1] / pair.shape[1]
    fractions = [[middle, 0, 1, 1], [0, 0, middle, 1]]
    pixels = [[x1 * pair.shape[1], 0, x2 * pair.shape[1], 240] for x1, _, x2, _ in fractions]
    references = [person(0), person(1)]  # each is asked for in the other's place
    for name, boxes in (("fractions", fractions), ("pixels", pixels), ("none", []), ("one", fractions[:1])):
        write_case(cases / name, pair, pair, references, bboxes=boxes)
    _, lines = notes_of(cases, store, tmp_path)
    scores = {name: line["scores"]["MobileFaceNet"] for name, line in lines.items()}
    assert {name: score["method"] for name, score in scores.items()} == {
        "fractions": "boxes",
        "pixels": "boxes",
        "none": "truth",
        "one": "truth",
    }
    assert scores["fractions"]["means"]["sim_ref"] == scores["pixels"]["means"]["sim_ref"] < 0.5
    assert scores["none"]["means"]["sim_ref"] > 0.9
    assert scores["one"]["notes"] == ["1 boxes for 2 people: faces are told apart by likeness instead."]
    _, lines = notes_of(cases, store, tmp_path, use_boxes=False)
    assert lines["pixels"]["scores"]["MobileFaceNet"]["method"] == "truth"


def test_legacy_arithmetic_is_marked(photos, store, tmp_path):
    report = evaluated(photos, store, tmp_path, legacy=True)
    scores = line(report, "half_a_pair")["scores"]["MobileFaceNet"]
    assert scores["legacy"]
    assert scores["means"]["copy_paste"] is None
    assert "outliers_removed" in report["summary"]["2"]["headline"]["sim_gt"]
    assert "Legacy arithmetic" in (tmp_path / "report.md").read_text()


def test_judges_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Two judges are called MobileFaceNet; give each a name of its own"):
        make_evaluation_models(analysis(), "MTCNN", [OwnEmbeddings(), OwnEmbeddings(numbers=96)], tmp_path)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_cases(tmp_path, name):
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    words = {"missing": "does not exist", "empty": r"holds no case. Expected one folder a case with out.jpg"}[name]
    with pytest.raises(FileNotFoundError, match=words):
        read_cases(tmp_path / name)
