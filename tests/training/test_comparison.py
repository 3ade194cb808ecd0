"""The blind comparison page, in a real browser, and what is made of its choices."""

import base64
import json
import re
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from withanyone_pack.tests.comfyui.browser import OPTIONS, require_chromium
from withanyone_pack.tests.training.people import write_case
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.evaluate import main
from training.evaluation.comparison import KEY, PAGE, Key, write_comparison
from training.evaluation.preference import preference_markdown, preference_report, read_choices, read_report
from training.evaluation.reading import read_cases

NAMES = [f"case_{number}" for number in range(6)]
RED, BLUE, GREEN = ((0, 0, 220), (220, 0, 0), (0, 200, 0))


def plain(colour, side=96):
    return np.full((side, side, 3), colour, np.uint8)


def folder_of(folder, colour, names=NAMES):
    for name in names:
        write_case(folder / name, plain(colour), None, [plain(GREEN)], "</script><b>prompt & all")
    return folder


@pytest.fixture
def folders(tmp_path):
    return folder_of(tmp_path / "red", RED), folder_of(tmp_path / "blue", BLUE)


def make(folders, out, seed=0, names=("red", "blue")):
    out.mkdir(exist_ok=True)
    return write_comparison(*(read_cases(folder) for folder in folders), names, out, seed)


def study(page):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def is_red(uri):
    encoded = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return bool(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[0, 0].argmax() == 2)


def test_the_key_says_what_stands_left_and_the_page_does_not(folders, tmp_path):
    page, left_out = make(folders, tmp_path / "out")
    assert left_out == ()
    key = Key.read(tmp_path / "out" / KEY)
    pairs = study(page)["pairs"]
    assert {pair["case"]: "A" if is_red(pair["left"]) else "B" for pair in pairs} == key.left
    assert all(is_red(pair["left"]) != is_red(pair["right"]) for pair in pairs)
    assert set(key.left.values()) == {"A", "B"}
    assert [pair["case"] for pair in pairs] != NAMES
    text = page.read_text()
    assert str(tmp_path) not in text
    assert '"red"' not in text
    assert "</script><b>" not in text
    assert pairs[0]["prompt"] == "</script><b>prompt & all"


def test_seed_turns_sides_and_order_and_nothing_else_does(folders, tmp_path):
    pages = [make(folders, tmp_path / str(number), seed)[0] for number, seed in enumerate((0, 0, 1))]
    assert pages[0].read_bytes() == pages[1].read_bytes() != pages[2].read_bytes()
    keys = [Key.read(page.parent / KEY).left for page in pages]
    assert keys[0] == keys[1] != keys[2]


def test_what_has_no_image_in_both_folders_is_left_out_and_named(folders, tmp_path):
    (folders[0] / NAMES[0] / "out.jpg").unlink()
    (folders[1] / NAMES[1] / "out.jpg").write_bytes(b"no image")
    write_case(folders[0] / "alone", plain(RED), None, [plain(GREEN)])
    page, left_out = make(folders, tmp_path / "out")
    assert sorted(left_out) == [
        "alone: the other folder has no such case",
        f"{NAMES[0]}: the first folder has no image of it",
        f"{NAMES[1]}: out.jpg (8 bytes) cannot be read as an image",
    ]
    assert {pair["case"] for pair in study(page)["pairs"]} == set(NAMES[2:])
    with pytest.raises(ValueError, match=r"No case has an image in both folders. other: the other folder has no"):
        make((folder_of(tmp_path / "x", RED, ["other"]), folders[1]), tmp_path / "out")


# In the browser


@contextmanager
def browser(profile, downloads):
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    for option in (*OPTIONS, "--window-size=1280,900", f"--user-data-dir={profile}"):
        options.add_argument(option)
    driver = Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def press(driver, *keys):
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def shown(driver):
    """Whether the left image is red, what is asked, and how far one is."""
    script = "return [document.querySelector('#left img').src, question.textContent, count.textContent]"
    source, question, count = driver.execute_script(script)
    return is_red(source), question, count


def downloaded(folder):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (folder / "choices.json").is_file():
            return json.loads((folder / "choices.json").read_text())
        time.sleep(0.1)
    raise TimeoutError("nothing was downloaded")


@pytest.mark.browser
def test_somebody_who_prefers_red_and_closes_the_page_in_between(folders, tmp_path):
    require_chromium()
    from selenium.webdriver.common.by import By

    page, _ = make(folders, tmp_path / "out")
    with browser(tmp_path / "profile", tmp_path) as driver:
        driver.get(page.as_uri())
        assert driver.find_element(By.ID, "prompt").text == "</script><b>prompt & all"
        assert len(driver.find_elements(By.CSS_SELECTOR, "#references img")) == 1
        assert driver.execute_script("return document.querySelector('#right img').naturalWidth") == 96
        for step in range(6):
            left_is_red, question, count = shown(driver)
            assert count == f"{step + 1} / 12"
            press(driver, "1" if left_is_red else "2") if "more like" in question else press(driver, "3")
        first = shown(driver)
    with browser(tmp_path / "profile", tmp_path) as driver:
        driver.get(page.as_uri())
        assert shown(driver) == first
        press(driver, "3")
        driver.find_element(By.ID, "back").click()
        assert shown(driver) == first
        for _ in range(6):
            left_is_red, question, _ = shown(driver)
            if "more like" in question:
                driver.find_element(By.ID, "left" if left_is_red else "right").click()
            else:
                driver.find_element(By.ID, "same").click()
        assert driver.find_element(By.ID, "finished").is_displayed()
        assert not driver.find_element(By.ID, "asking").is_displayed()
        driver.find_element(By.ID, "download").click()
        made = downloaded(tmp_path)
        assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert len(made["choices"]) == 12
    key = Key.read(tmp_path / "out" / KEY)
    votes = read_choices([tmp_path / "choices.json"], key)
    assert votes == {"likeness": {name: [1.0] for name in NAMES}, "copying": {name: [0.5] for name in NAMES}}


# What is made of choices


def choices_file(path, key, prefers, question="likeness"):
    """Choices of somebody who takes "A", "B" or None (cannot tell), by case."""
    sides = {name: "same" if one is None else "left" if key.left[name] == one else "right" for name, one in prefers}
    made = [{"case": name, "question": question, "choice": side} for name, side in sides.items()]
    path.write_text(json.dumps({"page": key.page, "choices": made}))
    return path


def report_with(sims):
    """A report.json as far as it is read: one judge, similarity to the ground truth by case."""
    from withanyone_core.metrics.case import CaseScores, IdentityScore

    lines = []
    for name, sim in sims.items():
        identity = IdentityScore(0, 0, 0, 0, sim_gt=sim, sim_ref=0.5, copy_paste=-sim)
        scores = CaseScores(name, "truth", (identity,), 1, 1, 1, group=name)
        lines.append({"case": name, "scores": {"judge": scores.to_json()}})
    return json.loads(json.dumps({"judges": [{"name": "judge", "trained_with": False}], "cases": lines}))


KEY_OF_SIX = Key("page", "red", "blue", dict(zip(NAMES, "ABBABA", strict=True)))


def test_shares_and_correlations(tmp_path):
    likes = list(zip(NAMES, ["A", "A", "A", "B", None, "A"], strict=True))
    other = list(zip(NAMES, ["A", "A", "B", "B", None, None], strict=True))
    files = [choices_file(tmp_path / f"{n}.json", KEY_OF_SIX, made) for n, made in enumerate((likes, other))]
    votes = read_choices(files, KEY_OF_SIX)
    assert votes["likeness"] == dict(zip(NAMES, [[1, 1], [1, 1], [1, 0], [0, 0], [0.5, 0.5], [1, 0.5]], strict=True))
    first = report_with(dict(zip(NAMES, [0.9, 0.8, 0.6, 0.1, 0.5, 0.7], strict=True)))
    second = report_with(dict.fromkeys(NAMES, 0.4))
    report = preference_report(votes, KEY_OF_SIX, [first, second], seed=0)
    found = report["questions"]["likeness"]
    assert (found["for_a"], found["for_b"], found["cannot_tell"], found["cases"]) == (6, 3, 3, 6)
    assert found["fraction_for_a"]["mean"] == pytest.approx(7.5 / 12)
    assert found["fraction_for_a"]["low"] < 7.5 / 12 < found["fraction_for_a"]["high"]
    chosen, difference = [1, 1, 0.5, 0, 0.5, 0.75], [0.5, 0.4, 0.2, -0.3, 0.1, 0.3]
    sim, copied = found["correlations"]["sim_gt"], found["correlations"]["copy_paste"]
    assert sim["n"] == 6
    assert sim["pearson"]["value"] == pytest.approx(np.corrcoef(chosen, difference)[0, 1])
    assert sim["pearson"]["low"] < sim["pearson"]["value"] < sim["pearson"]["high"]
    assert copied["spearman"]["value"] == pytest.approx(-sim["spearman"]["value"])
    assert found["correlations"]["sim_ref"] is None  # the same in both folders
    text = preference_markdown(report)
    assert "| 6 | 3 | 3 | 6 | 0.625 [" in text
    assert "too few, or all alike" in text
    json.dumps(report, allow_nan=False)


def test_choices_that_cannot_be_read(tmp_path):
    path = tmp_path / "choices.json"
    with pytest.raises(FileNotFoundError, match="do not exist; download them from the page first"):
        read_choices([path], KEY_OF_SIX)
    for text, words in (
        ("{", "is not a file of choices"),
        ("[]", "is not a file of choices"),
        ('{"page": "other", "choices": []}', r"was made on another page \(other\)"),
        ('{"page": "page", "choices": []}', "choices.json holds no choice yet"),
        ('{"page": "page", "choices": [{"case": "x", "question": "likeness", "choice": "left"}]}', "does not offer: x"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_choices([path], KEY_OF_SIX)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"is not a report.json of this program"):
        read_report(path)
    with pytest.raises(FileNotFoundError, match="does not exist; evaluate that folder first"):
        read_report(tmp_path / "report.json")


def test_both_by_the_command_line(folders, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(folders[0]), "--ab", str(folders[1]), "--out", str(out)]) == 0
    assert (out / PAGE).is_file()
    key = Key.read(out / KEY)
    assert (key.first, key.second) == ("red", "blue")
    choices_file(tmp_path / "choices.json", key, [(name, "A") for name in NAMES])
    reports = []
    for number in (1, 2):
        reports.append(str(tmp_path / f"{number}.json"))
        values = {name: index / 10 * number for index, name in enumerate(NAMES)}
        (tmp_path / f"{number}.json").write_text(json.dumps(report_with(values)))
    done = main(["--ab-results", str(tmp_path / "choices.json"), "--out", str(out), "--reports", *reports])
    assert done == 0, capsys.readouterr().err
    report = json.loads((out / "preference.json").read_text())
    assert report["questions"]["likeness"]["fraction_for_a"]["mean"] == 1
    assert "# A: red, B: blue" in (out / "preference.md").read_text()
