"""Ten thousand images: what the check keeps of each while it runs, and what an interruption costs."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
from withanyone_pack.tests.faces.small_pack import write_pack
from withanyone_pack.tests.identity_check.textured import SIDE, image, person, save, shot, write_people
from withanyone_pack.withanyone_core.command import INTERRUPTED
from withanyone_pack.withanyone_core.identity_check.__main__ import JSON, main
from withanyone_pack.withanyone_core.identity_check.appearance import LOOK_PX, Look
from withanyone_pack.withanyone_core.identity_check.calibration import Levels, calibrate
from withanyone_pack.withanyone_core.identity_check.checking import check_images
from withanyone_pack.withanyone_core.identity_check.images import LayoutFile
from withanyone_pack.withanyone_core.identity_check.values import ImageFile, People, Person, Photo, SeenImage
from withanyone_pack.withanyone_core.metrics.cache import ArrayStore
from withanyone_pack.withanyone_core.metrics.case import FaceEmbeddings

WIDTH = 512
BYTES_AN_IMAGE = 4_000  # of findings; a face's embedding and look alone are 6,000


def unit(seed, size):
    values = np.random.default_rng(seed).normal(size=size)
    return values / np.linalg.norm(values)


def look(*seed):
    gray = np.random.default_rng(seed).integers(0, 256, (LOOK_PX, LOOK_PX), dtype=np.uint8)
    return Look(gray, np.zeros(3, np.float32))


class Reader:
    """Two faces in every image, made when they are asked for."""

    def read(self, path):
        number = int(path.stem)
        embeddings = np.stack([unit([person, 0], WIDTH) + unit([number, person], WIDTH) for person in (0, 1)])
        boxes = np.array([[0, 0, 40, 40], [50, 0, 90, 40]], np.float32)
        faces = FaceEmbeddings(boxes, np.full(2, 0.9, np.float32), embeddings.astype(np.float32))
        looks = tuple(look(number, place, 7) for place in (0, 1))
        return SeenImage(path, (100, 50), faces, looks)


def photos_of(number):
    return tuple(
        Photo(Path(f"{photo}.png"), (0.0, 0.0, 1.0, 1.0), embedding / np.linalg.norm(embedding), look(number, photo, 8))
        for photo in range(3)
        for embedding in [unit([number, 0], WIDTH) + unit([number, photo, 9], WIDTH)]
    )


def kept_bytes(count):
    people = People(tuple(Person(name, photos_of(number)) for number, name in enumerate(("Ann", "Ben"))))
    calibration = calibrate(people.people, Levels())
    files = [ImageFile("", f"{number}.png", Path(f"{number}.png")) for number in range(count)]
    tracemalloc.start()
    try:
        checked, unread = check_images(files, LayoutFile(), people, calibration, Reader())
        kept, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(checked) == count
    assert not unread
    return kept, highest


def test_of_an_image_only_its_findings_stay_in_memory():
    (few, few_highest), (many, many_highest) = kept_bytes(20), kept_bytes(120)
    assert (many - few) / 100 < BYTES_AN_IMAGE
    assert (many_highest - few_highest) / 100 < BYTES_AN_IMAGE


def test_an_interrupted_check_reads_only_the_rest(tmp_path, monkeypatch, capsys):
    pack = write_pack(tmp_path / "antelopev2")
    write_people(tmp_path / "people", "Ann", "Ben", photos=2)
    for number in range(6):
        pixels = image(shot(person(0), 500 + number), shot(person(1), 600 + number))
        save(tmp_path / f"images/{number}.png", pixels)
    arguments = [str(tmp_path / "images"), "--people", str(tmp_path / "people"), "--out", str(tmp_path / "report")]
    arguments += ["--recognizer", str(pack), "--det-size", str(SIDE)]
    put, kept = ArrayStore.put, []

    def interrupted(self, *entry):
        if len(kept) == 7:  # four photos and three images
            raise KeyboardInterrupt
        kept.append(entry[0])
        put(self, *entry)

    monkeypatch.setattr(ArrayStore, "put", interrupted)
    assert main(arguments) == INTERRUPTED
    assert "resumes where it stopped" in capsys.readouterr().err
    assert not (tmp_path / "report" / JSON).exists()
    read_again = []
    monkeypatch.setattr(ArrayStore, "put", lambda self, *entry: (read_again.append(entry[0]), put(self, *entry)))
    main(arguments)
    assert len(read_again) == 3
    assert not set(read_again) & set(kept)
    assert len(json.loads((tmp_path / "report" / JSON).read_text())["images"]) == 6
