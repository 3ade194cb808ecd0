"""The benchmark in its published form."""

import json

import cv2
import pytest
from withanyone_pack.tests.training.people import person
from withanyone_pack.tests.training.rooms import add_training

add_training()
pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet

from training.evaluation.images import content, decode_image
from training.evaluation.reading import read_cases


def encoded(number):
    return cv2.imencode(".jpg", person(number))[1].tobytes()


def row(name="p2/a", people=(0, 1), **changed):
    images = [{"bytes": encoded(number), "path": f"{number}.jpg"} for number in people]
    boxes = [[0, 0, 100, 100]] * len(people)
    whole = {
        "ID": name,
        "GT": images[0],
        "input_images": images,
        "prompt": "two people",
        "task_type": "ID",
        "bboxes": json.dumps(boxes),
        "subset": f"p{len(people)}",
        "num_persons": len(people),
    }
    return whole | changed


def write(path, rows):
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def test_rows_become_cases_with_their_generated_images(tmp_path, results):
    rows = [row("p2/a"), row("b", (2,)), row("c", (0, 1, 2)), row("d")]
    (results / "p2_a.png").write_bytes(encoded(4))
    (results / "b.jpg").write_bytes(encoded(4))
    (results / "c").mkdir()
    (results / "c" / "out.jpg").write_bytes(encoded(4))
    first, second, third, fourth = read_cases(write(tmp_path / "bench.parquet", rows), results)
    assert [case.name for case in (first, second, third, fourth)] == ["p2/a", "b", "c", "d"]
    assert [case.subset for case in (first, second, third)] == ["2", "1", "3-4"]
    assert [case.generated.label for case in (first, second, third)] == ["p2_a.png", "b.jpg", "c/out.jpg"]
    assert fourth.generated is None
    assert first.prompt == "two people"
    assert first.boxes == ((0, 0, 100, 100),) * 2
    assert decode_image(content(second.references[0]), "reference").shape == person(2).shape
    assert content(first.truth) == encoded(0)


def test_a_folder_of_parquet_files_in_their_order(tmp_path, results):
    for number in (1, 0):
        write(tmp_path / f"part-{number}.parquet", [row(f"case {number}")])
    assert [case.name for case in read_cases(tmp_path, results)] == ["case 0", "case 1"]


def test_rows_that_cannot_be_used_say_why(tmp_path, results):
    rows = [row("a"), row("a"), row("b", bboxes="{"), row("c", bboxes="[[3, 0, 1, 1]]"), row("d", GT=None), row("e")]
    for name in ("e.jpg", "e.png"):
        (results / name).write_bytes(encoded(0))
    cases = read_cases(write(tmp_path / "bench.parquet", rows), results)
    faults = {case.name: case.fault for case in cases}
    assert faults["a"] == faults["d"] == ""
    assert faults["a (again)"] == "the ID a stands in the file twice"
    assert faults["b"].startswith("the boxes in the column bboxes are no JSON")
    assert faults["c"] == "the boxes in the column bboxes are not a list of [x1, y1, x2, y2] with x1 < x2 and y1 < y2"
    assert faults["e"] == "several images have its name: e.jpg, e.png"
    assert cases[4].truth is None


def test_names_do_not_leave_the_folder_of_results(tmp_path, results):
    (tmp_path / "outside.jpg").write_bytes(encoded(0))
    (case,) = read_cases(write(tmp_path / "bench.parquet", [row("../outside")]), results)
    assert case.generated is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"nothing"), "cannot be read as parquet"),
        (
            lambda path: write(path, [{"ID": "a", "prompt": "b"}]),
            "has no column GT, input_images; expected those",
        ),
        (lambda path: None, "does not exist"),
    ],
)
def test_other_files_are_refused_with_a_readable_message(tmp_path, results, make, words):
    path = tmp_path / "bench.parquet"
    make(path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        read_cases(path, results)


def test_the_generated_images_have_to_be_somewhere(tmp_path):
    path = write(tmp_path / "bench.parquet", [row()])
    with pytest.raises(ValueError, match=r"holds no generated images. Say where they are: --results DIR"):
        read_cases(path)
    with pytest.raises(FileNotFoundError, match=r"The folder of generated images .* does not exist"):
        read_cases(path, tmp_path / "nowhere")
