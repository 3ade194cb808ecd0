"""`python -m withanyone_core.identity_check` from files to files, with a small face pack that insightface loads."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load
from safetensors.numpy import save as safetensors_save
from withanyone_pack.tests.faces.small_pack import write_pack
from withanyone_pack.tests.identity_check.textured import SIDE, box, image, person, save, shot, write_people
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.identity_check.__main__ import HTML, JSON, JUNIT, STORE, main
from withanyone_pack.withanyone_core.identity_check.reading import MAKER
from withanyone_pack.withanyone_core.identity_check.records import FORMAT_VERSION
from withanyone_pack.withanyone_core.metrics.cache import ArrayStore

NAMES = "Ann", "Ben", "Cleo", "Dan"
ANN, BEN, STRANGER = person(0), person(1), person(50)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("models") / "antelopev2")


@pytest.fixture
def work(tmp_path):
    write_people(tmp_path / "people", *NAMES)
    layout = {"size": [SIDE, SIDE], "people": {"Ann": box(0), "Ben": box(1)}}
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    return tmp_path


def faulty(fault, number):
    """Ann in the first place and Ben in the second, Ann with this fault."""
    ann, ben = shot(ANN, 2 * number), shot(BEN, 2 * number + 1)
    faces = {
        "kept": (ann, ben),
        "drifted": (shot(STRANGER, number), ben),
        "swapped": (ben, ann),
        "dominated": (shot(BEN, 2 * number), ben),
        "blended": (shot((ANN + BEN) / 2, number, noise=20), ben),
        "pasted": (shot(ANN, 0), ben),  # the first of her photos
        "lost": (None, ben),
        "extra person": (ann, ben, shot(STRANGER, number)),
    }
    return image(*faces[fault])


FAULTS = "kept", "drifted", "swapped", "dominated", "blended", "pasted", "lost", "extra person"
OTHERS = {"swapped": "Ben", "dominated": "Ben", "blended": "Ben"}


def check(work, pack, *more, layout=True, out="report"):
    arguments = [work / "images", "--people", work / "people", "--out", work / out, "--recognizer", pack]
    arguments += ["--det-size", SIDE, *(("--layout", work / "layout.json") if layout else ()), *more]
    status = main([str(argument) for argument in arguments])
    report = work / out / JSON
    return status, json.loads(report.read_text()) if report.is_file() else None


def findings(report):
    return {
        (line["variant"], line["name"]): {each["person"]: each for each in line["findings"]}
        for line in report["images"]
    }


def test_every_fault_gets_its_name(work, pack):
    for fault in FAULTS:
        for number in range(4):
            save(work / "images" / fault / f"{number}.png", faulty(fault, 1000 + number))
    status, report = check(work, pack)
    assert status == 1
    for (variant, name), found in findings(report).items():
        ben = "swapped" if variant == "swapped" else "kept"
        assert found["Ben"]["name"] == ben, (variant, name)
        if variant == "extra person":
            assert found["Ann"]["name"] == "kept"
            assert found["nobody expected"]["name"] == "extra person"
        else:
            assert found["Ann"]["name"] == variant, (variant, name)
            assert found["Ann"]["other"] == OTHERS.get(variant, "")
    rows = {(row["variant"], row["person"]): row for row in report["summary"]}
    assert not rows["kept", "Ann"]["fails"]
    assert all(rows[fault, "Ann"]["fails"] for fault in FAULTS[1:7])
    assert rows["extra person", "nobody expected"]["fails"]
    assert rows["lost", "Ann"]["counts"] == {"lost": 4}


def test_sound_images_pass_with_thresholds_and_licences_shown(work, pack):
    for number in range(3):
        save(work / "images" / f"{number}.png", faulty("kept", 1000 + number))
    status, report = check(work, pack)
    assert status == 0
    assert report["passes"]
    assert report["recognizer"]["models"]["glintr100.onnx"].startswith("non-commercial")
    assert "antelopev2" in report["recognizer"]["remark"]
    threshold = report["calibration"]["threshold"]
    assert threshold["low"] < threshold["similarity"] < threshold["high"]
    assert report["calibration"]["pairs_of_one_person"] == 4 * 6
    page = (work / "report" / HTML).read_text()
    assert "non-commercial" in page
    assert f"{threshold['similarity']:.3f}" in page
    assert "2603.21937" in page


def test_the_page_needs_nothing_else_and_shows_crops_beside_photos(work, pack):
    save(work / "images/a/x.png", faulty("kept", 1000))
    save(work / "images/b/<i>.png", faulty("swapped", 1000))
    check(work, pack)
    page = (work / "report" / HTML).read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 3  # the generated face, the person's photo, the other's
    assert "http" not in page.replace("http-equiv", "")
    assert "&lt;i&gt;.png" in page
    assert "<i>.png" not in page


def test_junit_fails_where_a_person_fails(work, pack):
    for number in range(4):
        save(work / f"images/good/{number}.png", faulty("kept", 1000 + number))
        save(work / f"images/bad/{number}.png", faulty("drifted", 1000 + number))
    (work / "images/bad/broken.png").write_bytes(b"no image")
    assert check(work, pack)[0] == 1
    suites = {suite.get("name"): suite for suite in ElementTree.parse(work / "report" / JUNIT).getroot()}
    assert {name: suite.get("failures") for name, suite in suites.items()} == {"bad": "1", "good": "0", "unread": "0"}
    failure = suites["bad"].find("testcase[@name='Ann']/failure")
    assert "bad/3.png: drifted" in failure.text
    assert suites["unread"].get("errors") == "1"


def test_without_a_layout_everybody_is_expected_anywhere(work, pack):
    shutil.rmtree(work / "people")
    write_people(work / "people", "Ann", "Ben")
    save(work / "images/exchanged.png", faulty("swapped", 1000))
    save(work / "images/twice.png", faulty("dominated", 1000))
    _, report = check(work, pack, layout=False)
    found = findings(report)
    assert {who: each["name"] for who, each in found["", "exchanged.png"].items()} == {"Ann": "kept", "Ben": "kept"}
    assert sorted(each["name"] for each in found["", "twice.png"].values()) == ["dominated", "kept"]


def test_a_second_run_reads_only_what_is_new(work, pack, monkeypatch):
    save(work / "images/0.png", faulty("kept", 1000))
    _, first = check(work, pack)
    asked = []
    put = ArrayStore.put
    monkeypatch.setattr(ArrayStore, "put", lambda self, *entry: (asked.append(entry[0]), put(self, *entry)))
    shutil.copy(work / "images/0.png", work / "images/the same under another name.png")
    save(work / "images/1.png", faulty("kept", 1001))
    _, second = check(work, pack)
    assert len(asked) == 1
    assert second["images"][0] == first["images"][0]


def test_what_an_earlier_version_kept_is_read_again(work, pack):
    save(work / "images/0.png", faulty("pasted", 1000))
    _, first = check(work, pack)
    with closing(sqlite3.connect(work / "report" / STORE)) as connection:
        kept = connection.execute("select image, maker, arrays from kept").fetchall()
        earlier = [(image, maker.replace(f"{MAKER} ", "check "), _as_earlier(arrays)) for image, maker, arrays in kept]
        connection.execute("delete from kept")
        connection.executemany("insert into kept values (?, ?, ?)", earlier)
        connection.commit()
    _, second = check(work, pack)
    assert second == first
    assert second["images"][0]["findings"][0]["name"] == "pasted"


def _as_earlier(arrays):
    """With looks of 1024 numbers and no tints."""
    found = load(arrays)
    del found["tints"]
    return safetensors_save(found | {"looks": np.zeros((len(found["scores"]), 1024), np.float32)})


def test_worse_than_a_baseline_fails(work, pack):
    for number in range(8):
        save(work / f"images/{number}.png", image(shot(ANN, 500 + number, 20), shot(BEN, 600 + number, 20)))
    assert check(work, pack, out="before")[0] == 0
    baseline = work / "before" / JSON
    assert check(work, pack, "--baseline", baseline)[0] == 0
    for number in range(8):
        save(work / f"images/{number}.png", image(shot(ANN, 500 + number, 45), shot(BEN, 600 + number, 20)))
    status, report = check(work, pack, "--baseline", baseline)
    rows = {row["person"]: row for row in report["summary"]}
    assert status == 1
    assert not rows["Ann"]["fails"]
    assert any(text.startswith("similarity -") for text in rows["Ann"]["worse"])
    assert rows["Ben"]["worse"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": FORMAT_VERSION + 1}, "of version 3; this program reads version 2"),
        ({"format": "else"}, "no report.json of this check"),
        ({"images": 5}, "is damaged"),
        ({"recognizer": {"name": "another"}}, "was made with another"),
    ],
)
def test_a_baseline_that_cannot_be_compared_is_named_and_the_check_goes_on(work, pack, change, words):
    save(work / "images/0.png", faulty("kept", 1000))
    assert check(work, pack)[0] == 0
    stored = json.loads((work / "report" / JSON).read_text())
    (work / "old.json").write_text(json.dumps(stored | change))
    status, report = check(work, pack, "--baseline", work / "old.json")
    assert status == 2
    assert any(words in note and "Nothing was compared" in note for note in report["notes"])
    assert len(report["images"]) == 1


def test_bad_input_is_named_and_the_rest_goes_on(work, pack, caplog):
    people = work / "people"
    save(people / "Eve/empty.png", image(None))
    save(people / "Ann/stray.png", image(shot(-ANN, 1)))
    save(people / "Ben/group.png", image(shot(STRANGER, 1), shot(BEN, 1)))
    (people / "Cleo/broken.jpg").write_bytes(b"\xff\xd8 cut")
    write_people(work / "again", "Ann")
    (work / "again/Ann").rename(people / "Ann again")
    shutil.copy(people / "Dan/0.png", people / "Dan/copy.png")
    save(work / "images/0.png", faulty("kept", 1000))
    (work / "images/cut.png").write_bytes((work / "images/0.png").read_bytes()[:200])
    (work / "images/nothing.png").touch()
    (work / "images/notes.txt").write_text("not an image")
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    status, report = check(work, pack)
    assert status == 2
    assert {path: path.read_bytes() for path in before} == before
    notes = "\n".join(report["notes"])
    assert "Eve: no face was found in 1 photo; the person is left out" in notes
    assert "Ann: stray.png seems to show somebody else than the other 4" in notes
    assert "broken.jpg (6 bytes) cannot be read" in notes
    assert "Ann and Ann again look like one person in two folders" in notes
    assert "Dan: copy.png is 0.png once more" in notes
    assert [entry["image"] for entry in report["unread"]] == ["cut.png", "nothing.png"]
    photos = {entry["name"]: len(entry["photos"]) for entry in report["calibration"]["people"]}
    assert photos == {"Ann": 4, "Ann again": 4, "Ben": 5, "Cleo": 4, "Dan": 4}
    assert "Eve: no face was found" in caplog.text
    assert [each["name"] for each in report["images"][0]["findings"]] == ["kept", "kept"]


def test_a_layout_for_another_size_is_stretched_and_said(work, pack):
    wide = np.concatenate([faulty("kept", 1000), faulty("kept", 1000)], axis=1)[:, : SIDE + 40]
    save(work / "images/wide.png", wide)
    _, report = check(work, pack)
    assert "of other proportions than the layout (160 x 160)" in report["images"][0]["notes"][0]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("{", "cannot be read as JSON"),
        ({"peopl": {}}, 'needs "people" or "images"'),
        ({"people": {"Ann": [1, 2, 3]}}, r"The box of Ann .* is \[1, 2, 3\]"),
        ({"people": {"Ann": [10, 10, 20, 20]}}, 'say of which "size"'),
        ({"people": {"Ann": [0.5, 0, 0.1, 1]}}, "top left corner first"),
        ({"size": [0, 1], "people": {"Ann": None}}, "in pixels"),
        ({"images": {"x.png": {}}}, 'x.png in .* needs "people"'),
        ({"people": {}}, "expects nobody"),
    ],
)
def test_a_wrong_layout_is_refused(work, pack, layout, words, capsys):
    save(work / "images/0.png", faulty("kept", 1000))
    (work / "layout.json").write_text(layout if isinstance(layout, str) else json.dumps(layout))
    assert check(work, pack)[0] == 2
    assert re.search(words, capsys.readouterr().err)


def test_people_of_the_layout_without_photos_are_named(work, pack):
    save(work / "images/0.png", faulty("kept", 1000))
    layout = {"size": [SIDE, SIDE], "images": {"0*": {"people": {"Ann": box(0), "Zoe": box(1)}}}}
    (work / "layout.json").write_text(json.dumps(layout))
    status, report = check(work, pack)
    assert status == 2
    assert any("expects Zoe, of whom no photo can be used" in note for note in report["notes"])
    assert [each["person"] for each in report["images"][0]["findings"]] == ["Ann"]


def test_nothing_to_check_is_said(work, pack, capsys):
    (work / "images").mkdir()
    assert check(work, pack)[0] == 2
    assert "holds no image" in capsys.readouterr().err
    save(work / "images/0.png", faulty("kept", 1000))
    shutil.rmtree(work / "people")
    assert check(work, pack)[0] == 2
    (work / "people").mkdir()
    assert check(work, pack)[0] == 2
    assert "holds no photo" in capsys.readouterr().err


def test_transparent_turned_and_deep_images_are_read_as_people_see_them(work, pack):
    pixels = faulty("kept", 1000)
    clear = np.concatenate([pixels, np.full((SIDE, SIDE, 1), 255, np.uint8)], axis=2)
    save(work / "images/clear.png", clear)
    turned = Image.fromarray(np.rot90(pixels).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(work / "images/turned.png", exif=exif)
    _, report = check(work, pack)
    for found in findings(report).values():
        assert [each["name"] for each in found.values()] == ["kept", "kept"]


def test_the_command_prints_its_help_when_called_bare():
    done = subprocess.run(
        [sys.executable, "-m", "withanyone_core.identity_check"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert "--people" in done.stdout
    assert "exit status" in done.stdout
