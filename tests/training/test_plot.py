"""The plot, and the files that outlive a run."""

import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.evaluation.plot import LETTER, ROW, Panel, Point, svg
from training.evaluation.published import PUBLISHED
from training.evaluation.records import Lines, write_json

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*panels):
    return ElementTree.fromstring(svg(panels, "caption"))


def published(subset):
    return tuple(Point(row.method, row.truth, row.copy_paste) for row in PUBLISHED[subset])


@pytest.mark.parametrize("subset", PUBLISHED)
def test_no_name_is_drawn_over_another(subset):
    own = Point("mine & <yours>", 0.45, 0.15, (0.4, 0.5), (0.1, 0.2))
    texts = drawn(Panel("panel", (own,), published(subset))).iter(f"{SVG}text")
    names = {row.method for row in PUBLISHED[subset]} | {own.label}
    labels = [text for text in texts if text.text in names]
    assert len(labels) == len(names)
    for first, second in combinations(labels, 2):
        assert is_apart(first, second), (first.text, second.text)


def is_apart(first, second):
    ends = []
    for text in (first, second):
        at, width = float(text.get("x")), len(text.text) * LETTER
        ends.append((at - width, at) if text.get("text-anchor") == "end" else (at, at + width))
    rows = abs(float(first.get("y")) - float(second.get("y")))
    return rows >= ROW - 0.01 or ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]


def test_points_stand_where_their_numbers_say():
    low, high = Point("low", 0.2, 0.0), Point("high", 0.6, 0.4)
    circles = [
        (float(mark.get("cx")), float(mark.get("cy")))
        for mark in drawn(Panel("", (low, high), ())).iter(f"{SVG}circle")
    ]
    (high_x, high_y), (low_x, low_y) = circles
    assert high_x > low_x
    assert high_y < low_y  # up is more


def test_a_panel_without_points_of_ones_own():
    assert len(list(drawn(Panel("panel", (), published("1"))).iter(f"{SVG}circle"))) == len(PUBLISHED["1"])


def test_the_latest_line_counts_and_damaged_ones_do_not(tmp_path):
    lines = Lines(tmp_path / "out" / "cases.jsonl")
    odd = "a\u2028b\u0085c"  # would be line ends to str.splitlines
    lines.add({"case": odd, "key": "1", "value": 0.1})
    with lines.path.open("a") as stream:
        stream.write('["case", "key"]\n{"case": 3, "key": "1"}\n\n{"half')
    lines = Lines(lines.path)
    assert lines.get(odd, "1")["value"] == 0.1
    assert lines.get(odd, "2") is None
    lines.add({"case": odd, "key": "2", "value": 0.2})
    lines = Lines(lines.path)
    assert lines.get(odd, "1") is None
    assert lines.get(odd, "2")["value"] == 0.2


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, {"b": 1, "a": 0.1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
