"""The report of a run: its first line, where the file belongs, the filmstrip, and the same as one HTML file."""

import re

import pytest
from PIL import Image
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.scripted_scores import measured
from withanyone_pack.tests.training.small_trainer import HIDDEN, LAYERS, small_trainer

from training.loop.train import train
from training.report.filmstrip import LARGEST_TILE_PX, MOST_PX, filmstrip
from training.report.report import finish
from withanyone_core.adapter.shape import BranchShape

ARC = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512)
SHORT = ("optim.steps=2", "validation.every_steps=1", "save.every_steps=1")
BETTER = ((0.30, 0.10), (0.40, 0.12), (0.40, 0.12))


def reported(folder, *changes, series=BETTER, **choices):
    """report.md and report.html of a run whose validations are scored as `series` says."""
    trainer = small_trainer(folder, *SHORT, *changes)
    validate, scripted = trainer.validate, iter(series)

    def scored():
        validate()
        latest = trainer.state.progress.measured[-1]
        scores = next(scripted)
        if scores:
            latest |= {**measured(latest["step"], *scores, **choices), "validation": latest["validation"]}

    trainer.validate = scored
    train(trainer)
    finish(trainer)
    trainer.close()
    return [(folder / name).read_text(encoding="utf-8") for name in ("report.md", "report.html")]


@pytest.fixture(scope="module")
def better(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "friends"
    return folder, *reported(folder)


def test_the_first_line_says_what_the_run_has_brought(better):
    _, text, page = better
    line = text.splitlines()[0]
    expected = r"# friends: better than step 0: Sim\(GT\) \+0\.100 \[.*\], copy-paste \+0\.020 \[.*\]"
    assert re.fullmatch(expected, line)
    assert f"<h1>{line.removeprefix('# ')}</h1>" in page
    assert "8 images, each compared with the one of the same prompt and seed" in text
    assert "adapter.safetensors is the adapter after 1 of 2 steps" in text
    assert "do not say that a later one is better" in text


@pytest.mark.parametrize(
    ("series", "choices", "line", "remark"),
    [
        (((0.30, 0.1), (0.30, 0.1), (0.30, 0.1)), {}, "same as step 0: Sim(GT) +0.000", "Training did not help"),
        (((0.30, 0.1), (0.20, 0.1), (0.20, 0.1)), {}, "worse than step 0: Sim(GT) -0.100", "Training did harm"),
        (((0.30, 0.1), (0.30, 0.5), (0.30, 0.5)), {}, "copies more than step 0: Sim(GT) +0.0", "has taught copying"),
        (BETTER, {"count": 5}, "not judged", "Fewer than 6 images have a score at both step 0 and step 2"),
        ((None, None, None), {}, "not judged", "No judge was named"),
    ],
)
def test_every_other_word(tmp_path, series, choices, line, remark):
    text, page = reported(tmp_path / "run", series=series, **choices)
    assert text.startswith(f"# run: {line}")
    assert remark in text
    assert remark in page
    assert ("Use the adapter as it came." in text) == (line != "not judged")


def test_the_scale_and_the_place_of_the_file_are_named(better):
    folders = (ROOT / "nodes/folders.py").read_text(encoding="utf-8")
    adapters = re.search(r'^ADAPTERS = "(.+)"', folders, re.MULTILINE)[1]
    for text in better[1:]:
        assert "from 0.30 to 0.77, and their median is 0.46" in text
        assert "the references have a cosine of 0.500 (mean of 8 images)" in text
        assert (
            f"Put adapter.safetensors into ComfyUI/models/{adapters} and choose it in Load WithAnyone Adapter" in text
        )


def test_a_lora_belongs_elsewhere(tmp_path):
    init = random_adapter(tmp_path / "withanyone.safetensors", shapes=(ARC,))
    text, _ = reported(tmp_path / "run", f"adapter.init={init}", "train.mode=lora", "train.rank=2")
    folders = (ROOT / "nodes/folders.py").read_text(encoding="utf-8")
    loras = re.search(r'^ADAPTER_LORAS = "(.+)"', folders, re.MULTILINE)[1]
    assert f"Put lora.safetensors into ComfyUI/models/{loras} and choose it in Add Adapter LoRA" in text


def test_the_page_is_one_file_and_says_the_same(better):
    _, text, page = better
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert page.count("<polyline") >= 4
    words = re.sub(r"<svg.*?</svg>|<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split()
    for line in text.splitlines():
        if line and not line.startswith(("|", "!", "#")):
            assert " ".join(line.removeprefix("* ").split()) in " ".join(words).replace("&#x27;", "'")


def test_the_filmstrip_has_a_column_for_each_validation(better):
    folder, text, _ = better
    assert "![filmstrip](filmstrip.jpg)" in text
    with Image.open(folder / "filmstrip.jpg") as strip:
        columns, rows = (round(side / LARGEST_TILE_PX - 0.1) for side in strip.size)
    assert (columns, rows) == (2 + 3, 1)


def test_each_image_of_a_filmstrip_lies_in_its_row_and_column(tmp_path):
    for name, color in (("red", "#ff0000"), ("green", "#00ff00"), ("blue", "#0000ff")):
        Image.new("RGB", (300, 150), color).save(tmp_path / f"{name}.png")
    red, green, blue, gone = ([tmp_path / f"{name}.png"] for name in ("red", "green", "blue", "gone"))
    strip = filmstrip(["one", "two"], [[red, gone], [green + blue, red]])
    pitch, half = LARGEST_TILE_PX + 4, LARGEST_TILE_PX // 2
    middle = 20 + half
    assert strip.getpixel((half, middle)) == strip.getpixel((pitch + half, pitch + middle)) == (255, 0, 0)
    assert strip.getpixel((pitch + half, middle)) == (0xD5, 0xD9, 0xE0)
    assert strip.getpixel((half - 40, pitch + middle)) == (0, 255, 0)
    assert strip.getpixel((half + 40, pitch + middle)) == (0, 0, 255)


def test_a_long_run_has_a_filmstrip_that_can_be_opened(tmp_path):
    Image.new("RGB", (30, 30), "#ff0000").save(tmp_path / "red.png")
    strip = filmstrip(["step"] * 400, [[[tmp_path / "red.png"]] * 400])
    assert strip.width <= MOST_PX
