"""validation.prompts as it is read: in the configuration, on the command line and in files of other trainers."""

import json

import pytest
import yaml
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings
from training.configuration.writing import settings_text

GIVEN = ["out=run", "base.path=flux", "adapter.init=none", "data.cache=cache", "id_loss.recognizer=face.onnx"]
BOX = (0.1, 0.2, 0.4, 0.6)


def read(prompts, tmp_path):
    """Of a configuration file; text as it stands there."""
    path = tmp_path / "run.yaml"
    path.write_text(f"validation:\n  prompts: {prompts}\n")
    return read_settings(Finetune, path, GIVEN).validation.prompts


def given(change):
    return read_settings(Finetune, None, [*GIVEN, f"validation.prompts={change}"]).validation.prompts


def test_an_entry_says_who_stands_where_and_how_large_the_image_is(tmp_path):
    (entry,) = read(
        "[{prompt: two friends, people: {anna: [0.1, 0.2, 0.4, 0.6], ben: right}, seed: 7, width: 768, height: 512}]",
        tmp_path,
    )
    assert entry.prompt == "two friends"
    assert entry.people == {"anna": BOX, "ben": "right"}
    assert (entry.seed, entry.width, entry.height) == (7, 768, 512)


def test_prompts_and_names_are_taken_as_typed(tmp_path):
    first, second, third, fourth = read(
        "\n    - 2025\n    - {prompt: no, people: {zoe\u0308: left}}\n    - prompt: yes\n      people: [007, anna]\n"
        "    - {prompt: x, people: {no: left, 1e3: right}}\n",
        tmp_path,
    )
    assert (first.prompt, second.prompt, third.prompt) == ("2025", "no", "yes")
    assert second.people == {"zo\u00eb": "left"}
    assert third.people == {"007": "row", "anna": "row"}
    assert fourth.people == {"no": "left", "1e3": "right"}


def test_a_plain_list_may_carry_the_flags_of_other_trainers():
    first, second = given("[a photo of anna --w 512 --h 768 --d 42, by the sea]")
    assert (first.prompt, first.width, first.height, first.seed) == ("a photo of anna", 512, 768, 42)
    assert (second.prompt, second.width, second.seed, second.people) == ("by the sea", None, None, {})


@pytest.mark.parametrize("end", ["yaml", "json", "txt"])
def test_a_file_is_read_from_where_the_configuration_lies(tmp_path, end):
    texts = ["# not this", "", "a photo: of anna", "by the sea --d 3"] if end == "txt" else ["a photo: of anna"]
    write = {"yaml": yaml.safe_dump, "json": json.dumps, "txt": "\n".join}[end]
    entries = [*texts, {"prompt": "by the sea", "seed": 3}] if end != "txt" else texts
    (tmp_path / f"my #1.{end}").write_text(write(entries))
    for found in (read(f"'my #1.{end}'", tmp_path), given(tmp_path / f"my #1.{end}")):
        assert [(each.prompt, each.seed) for each in found] == [("a photo: of anna", None), ("by the sea", 3)]


def test_a_library_of_short_names_is_read(tmp_path):
    (tmp_path / "library.json").write_text(json.dumps({"sea": "by the sea", "hat": {"prompt": "a hat", "seed": 1}}))
    assert [(each.name, each.prompt) for each in read("library.json", tmp_path)] == [
        ("sea", "by the sea"),
        ("hat", "a hat"),
    ]


def test_settings_that_are_written_are_read_back(tmp_path):
    settings = read_settings(Finetune, None, [*GIVEN, "validation.prompts=[{prompt: x, people: {anna: left}}, y]"])
    path = tmp_path / "again.yaml"
    path.write_text(settings_text(settings))
    assert read_settings(Finetune, path) == settings


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("''", "entry 2: prompt: is empty"),
        ("{people: [anna]}", "entry 2: prompt is missing"),
        ("{prompt: x, promts: y}", "entry 2: the key promts is unknown; did you mean prompt"),
        ("5", None),
        ("[x]", "entry 2: is .*expected a prompt"),
        ("{prompt: x, people: {anna: [0.1, 0.2, 0.4, 1.6]}}", "entry 2: people: places anna at .*from 0 to 1"),
        ("{prompt: x, people: {anna: [100, 20, 400, 60]}}", "pixels over its width"),
        ("{prompt: x, people: {anna: [0.4, 0.2, 0.1, 0.6]}}", "has no area"),
        ("{prompt: x, people: {anna: [0.4, 0.2, 0.1]}}", "expected a box .* of four numbers"),
        ("{prompt: x, people: {anna: [.nan, 0.2, 0.4, 0.6]}}", "from 0 to 1"),
        ("{prompt: x, people: {anna: lefft}}", "did you mean left"),
        ("{prompt: x, people: [anna, anna]}", "names anna twice"),
        ("{prompt: x, people: [a, b, c, d, e]}", r"entry 2: shows 5 people, .*data\.max_people"),
        ("{prompt: x, width: 512}", "only one of width and height"),
        ("{prompt: x, width: 500, height: 512}", "multiple of 16"),
        ("{prompt: x, seed: -1}", "greater than or equal to 0"),
        ("x --n ugly", "entry 2: --n is not known; --w .* are"),
    ],
)
def test_mistakes_are_named_with_the_number_of_their_entry(tmp_path, entry, words):
    if words is None:
        assert read(f"[good, {entry}]", tmp_path)[1].prompt == "5"
        return
    with pytest.raises(ValueError, match=rf"validation\.prompts: .*{words}"):
        read(f"[good, {entry}]", tmp_path)


def test_all_entries_with_mistakes_are_listed():
    with pytest.raises(ValueError, match=r"entry 1: .*; entry 3: "):
        given("['', x, {prompt: y, width: 64}]")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gone.txt", None, "there is no file"),
        ("x.json", "[", r"x\.json cannot be read"),
        ("x.yaml", "[", r"x\.yaml cannot be read"),
        ("x.csv", "a", r"x\.csv is no \.yaml, \.json or \.txt file"),
        ("x.json", "5", "expected a list of prompts"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        given(tmp_path / name)
