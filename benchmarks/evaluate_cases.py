"""Time to score and summarize the whole benchmark from kept embeddings: 435 cases of 5 images, 3 judges.

    .testbed/venv/bin/python benchmarks/evaluate_cases.py [--cases 435] [--images 5]

The embeddings are random, 512 numbers each, of one to four people a case, with a lost or an extra face here and there.
Reads them from a cache file as an evaluation does, scores every image with every judge, and summarizes with 10,000
resamples. The goal is under 10 s on two cores. Needs the test bed that `bash test.sh` makes.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pack import load_pack

load_pack()

from withanyone_pack.withanyone_core.metrics.cache import ArrayStore
from withanyone_pack.withanyone_core.metrics.case import METRICS, Case, CaseScores, FaceEmbeddings
from withanyone_pack.withanyone_core.metrics.scoring import score_case
from withanyone_pack.withanyone_core.metrics.summary import judges_mean, statistic, summarize

GOAL_S = 10.0
JUDGES = ("arcface", "facenet", "adaface")
WIDTH = 512
BOX_PX = 100.0
NAMES = ("boxes_px", "scores", "embeddings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=435)
    parser.add_argument("--images", type=int, default=5, help="generated images a case")
    sizes = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = ArrayStore(Path(folder) / "faces.sqlite")
        cases = list(_made(sizes.cases, sizes.images))
        for judge in JUDGES:
            for case in cases:
                _keep(store, judge, case)
        _timed(store, cases)


def _timed(store: ArrayStore, cases: list[Case]) -> None:
    start = time.perf_counter()
    read = {judge: [_read(store, judge, case) for case in cases] for judge in JUDGES}
    reading = time.perf_counter()
    scores = {judge: [score_case(case) for case in read[judge]] for judge in JUDGES}
    scoring = time.perf_counter()
    _summarized(scores)
    done = time.perf_counter()
    faces = sum(case.expected for case in cases)
    print(f"{len(cases)} images, {faces} people, {len(JUDGES)} judges, {os.cpu_count()} cores")
    print(f"reading {reading - start:.2f} s, scoring {scoring - reading:.2f} s, summaries {done - scoring:.2f} s")
    print(f"together {done - start:.2f} s (goal: under {GOAL_S:g} s)")
    sys.exit(done - start >= GOAL_S)


def _summarized(scores: dict[str, list[CaseScores]]) -> None:
    for judged in scores.values():
        summarize(judged)
    for metric in METRICS:
        values, groups = judges_mean(list(scores.values()), metric)
        statistic(values, groups)


def _made(cases: int, images: int) -> Iterator[Case]:
    random = np.random.default_rng(0)
    for number in range(cases):
        people = 1 + number % 4
        who = random.normal(size=(people, WIDTH))
        truth = _faces(who + random.normal(size=who.shape))
        references = tuple(
            _faces(who[person : person + 1] + random.normal(size=(1, WIDTH))) for person in range(people)
        )
        for image in range(images):
            seen = who + random.normal(size=who.shape)
            if number % 10 == 0:
                seen = seen[1:]
            if number % 10 == 5:
                seen = np.concatenate([seen, random.normal(size=(1, WIDTH))])
            yield Case(f"{number:03d}/{image}", _faces(seen), truth, references, group=f"{number:03d}")


def _faces(embeddings: np.ndarray) -> FaceEmbeddings:
    corners = BOX_PX * np.arange(len(embeddings))[:, None]
    boxes = np.concatenate([corners, corners, corners + BOX_PX, corners + BOX_PX], axis=1)
    return FaceEmbeddings(boxes.astype(np.float32), np.ones(len(embeddings), np.float32), embeddings.astype(np.float32))


def _images(case: Case) -> dict[str, FaceEmbeddings]:
    """The images of a case by name; what several cases share has one name and is kept once."""
    shared = {"truth": case.truth} | {f"reference {index}": faces for index, faces in enumerate(case.references)}
    return {case.name: case.generated} | {f"{case.group} {name}": faces for name, faces in shared.items()}


def _keep(store: ArrayStore, judge: str, case: Case) -> None:
    for name, faces in _images(case).items():
        if store.get(name, judge) is None:
            store.put(name, judge, {key: getattr(faces, key) for key in NAMES})


def _read(store: ArrayStore, judge: str, case: Case) -> Case:
    generated, truth, *references = (FaceEmbeddings(**store.get(name, judge)) for name in _images(case))
    return replace(case, generated=generated, truth=truth, references=tuple(references))


if __name__ == "__main__":
    main()
