"""`python miniature/lab/identity_check.py --out DIR`: does the identity check name planted faults?

Draws people whom nothing was trained on, their photos, and images of them with one fault each, drawn by the renderer: a
stranger, two people exchanged, one person twice, somebody half way between two, a photo's face once more, nobody, one
more. Then runs `python -m withanyone_core.identity_check` on them and compares.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image
from tqdm import tqdm

from miniature.weights_folder import FACES, shipped
from miniature.world import Person, Scene, draw_look, draw_portrait, draw_scene, person_of, render
from miniature.world.renderer import seen_faces
from withanyone_core.command import WRONG, run_command
from withanyone_core.identity_check.__main__ import JSON
from withanyone_core.identity_check.__main__ import main as check
from withanyone_core.identity_check.summary import wilson

FAULTS = ("drifted", "swapped", "dominated", "blended", "pasted", "lost", "extra person")
CLEAN = "clean"
SIZE_PX, DETECTION_PX = 160, 320  # what the miniature's face models were trained for
GOALS = {"right name": 0.95, "false alarm": 0.05}
STRANGERS = 500_000  # persons so far behind the first are nobody's photos


@dataclass(frozen=True)
class Trial:
    """What is drawn.

    first_person  number of the first of the people; 1,000,000 and above are trained on by nothing
    people        so many in turn, with so many photos each
    images        with a fault, and as many without
    seed          of looks and scenes
    """

    first_person: int = 1_300_000
    people: int = 60
    photos: int = 6
    images: int = 600
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Planted:
    """An image with its fault: who it shows where, as the scene has them, and who is expected there."""

    fault: str
    name: str
    pixels: np.ndarray
    people: tuple[str, ...]
    boxes: tuple[tuple[float, ...], ...]

    @property
    def truth(self) -> dict[str, tuple[str, str]]:
        """Of each expected person the right name and who else is concerned."""
        first, second, *others = self.people
        right = dict.fromkeys(others, ("kept", "")) | {first: ("kept", ""), second: ("kept", "")}
        if self.fault == "swapped":
            return right | {first: ("swapped", second), second: ("swapped", first)}
        if self.fault in ("dominated", "blended"):
            return right | {first: (self.fault, second)}
        return right | ({first: (self.fault, "")} if self.fault in ("drifted", "pasted", "lost") else {})


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if both goals are met, 1 if not, 2 for anything given wrongly."""
    return run_command("identity_check", _parser(), _run, arguments)


def _run(options: argparse.Namespace) -> int:
    trial = Trial(options.first_person, options.people, options.photos, options.images, options.seed)
    planted = draw(trial, options.out)
    status = check(
        [
            str(options.out / "images"),
            *("--people", str(options.out / "people"), "--layout", str(options.out / "layout.json")),
            *("--out", str(options.out / "report"), "--recognizer", str(options.recognizer or shipped(FACES))),
            *("--det-size", str(DETECTION_PX)),
        ]
    )
    compared = compare(planted, json.loads((options.out / "report" / JSON).read_text(encoding="utf-8")))
    (options.out / "figures.json").write_text(json.dumps(compared, indent=1) + "\n", encoding="utf-8")
    figures = compared["figures"]
    sys.stdout.write("\n".join((*_lines(figures, trial), *_table(compared["named"]))) + "\n")
    return 0 if figures["right name"][1] >= GOALS["right name"] and _is_quiet(figures) and status != WRONG else 1


def draw(trial: Trial, out: Path) -> dict[str, Planted]:
    """Photos, images and the layout as files; what was planted by the image's label."""
    photos = _Photos(trial)
    for number in tqdm(range(trial.people), desc="people", disable=None):
        for photo in range(trial.photos):
            _save(out / "people" / photos.name(number) / f"{photo}.png", photos.pixels(number, photo))
    planted, entries = {}, {}
    for number in tqdm(range(2 * trial.images), desc="drawing", disable=None):
        fault = CLEAN if number % 2 else FAULTS[number // 2 % len(FAULTS)]
        each = _planted(trial, photos, number, fault)
        variant = fault.replace(" ", "_")
        _save(out / "images" / variant / each.name, each.pixels)
        planted[f"{variant}/{each.name}"] = replace(each, pixels=np.zeros(0, np.uint8))
        places = {who: list(map(float, box)) for who, box in zip(each.people, each.boxes, strict=True)}
        entries[f"{variant}/{each.name}"] = {"people": places}
    (out / "layout.json").write_text(json.dumps({"images": entries}), encoding="utf-8")
    return planted


def compare(planted: dict[str, Planted], report: dict) -> dict[str, dict]:
    """What was right, and which name each fault was given.

    "figures" are fractions as [count, fraction, low, high, of]: right names by fault and together, false alarms,
    unclear ones; "named" counts by planted fault the names of the first person concerned.
    """
    right: dict[str, list[bool]] = {fault: [] for fault in FAULTS}
    named: dict[str, Counter[str]] = {fault: Counter() for fault in (*FAULTS, CLEAN)}
    alarms, unclear = [], []
    for line in report["images"]:
        each = planted[f"{line['variant']}/{line['name']}"]
        found = {finding["person"]: (finding["name"], finding["other"]) for finding in line["findings"]}
        names = [finding["name"] for finding in line["findings"]]
        if each.fault in ("extra person", CLEAN):
            named[each.fault][_worst(names)] += 1
        if each.fault == CLEAN:
            alarms.append(any(name not in ("kept", "unclear") for name in names))
            unclear.append("unclear" in names)
        elif each.fault == "extra person":
            right[each.fault].append("extra person" in names)
        else:
            concerned = [who for who, (name, _) in each.truth.items() if name != "kept"]
            named[each.fault][found[concerned[0]][0]] += 1
            right[each.fault].append(all(found.get(who) == each.truth[who] for who in concerned))
    together = [value for values in right.values() for value in values]
    figures = {f"right name: {fault}": _fraction(values) for fault, values in right.items()}
    figures |= {
        "right name": _fraction(together),
        "false alarm": _fraction(alarms),
        "unclear, clean": _fraction(unclear),
    }
    return {"figures": figures, "named": {fault: dict(names.most_common()) for fault, names in named.items()}}


def _worst(names: Sequence[str]) -> str:
    """The name of an image in which everybody should be kept: that of whoever is not."""
    return next((name for name in FAULTS if name in names), "unclear" if "unclear" in names else "kept")


class _Photos:
    """The people and their photos: the same numbers give the same ones."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def name(self, number: int) -> str:
        return f"person_{self._trial.first_person + number:07d}"

    def person(self, number: int) -> Person:
        return person_of(self._trial.first_person + number)

    def scene(self, number: int, photo: int) -> Scene:
        rng = np.random.default_rng([self._trial.seed, 1, self._trial.first_person + number, photo])
        return (draw_scene(rng, [self.person(number)]), draw_portrait(rng, self.person(number)))[photo % 2]

    def pixels(self, number: int, photo: int) -> np.ndarray:
        return render(self.scene(number, photo), SIZE_PX, SIZE_PX).pixels


def _planted(trial: Trial, photos: _Photos, number: int, fault: str) -> Planted:
    rng = np.random.default_rng([trial.seed, 2, number])
    count = int(rng.integers(2, 4))
    who = [int(index) for index in rng.choice(trial.people, count, replace=False)]
    stranger = person_of(trial.first_person + STRANGERS + number)
    people = [photos.person(index) for index in who]
    scene = draw_scene(rng, [*people, stranger] if fault == "extra person" else people)
    shown = list(scene.people)
    if fault == "drifted":
        shown[0] = replace(shown[0], person=stranger)
    elif fault == "swapped":
        shown[0], shown[1] = replace(shown[0], person=people[1]), replace(shown[1], person=people[0])
    elif fault == "dominated":
        shown[0] = replace(shown[0], person=people[1], look=draw_look(rng))
    elif fault == "blended":
        shown[0] = replace(shown[0], person=Person((people[0].traits + people[1].traits) / 2))
    elif fault == "pasted":
        photo = photos.scene(who[0], int(rng.integers(trial.photos)))
        shown[0], scene = replace(shown[0], look=photo.people[0].look), replace(scene, light=photo.light)
    # The boxes are those of the sound scene: where everybody should be.
    boxes = tuple(face.box for face in seen_faces(scene, SIZE_PX, SIZE_PX)[:count])
    drawn = replace(scene, people=tuple(shown[1:] if fault == "lost" else shown))
    names = tuple(photos.name(index) for index in who)
    return Planted(fault, f"{number:05d}.png", render(drawn, SIZE_PX, SIZE_PX).pixels, names, boxes)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _fraction(values: Sequence[bool]) -> list:
    return [sum(values), *wilson(sum(values), len(values)), len(values)]


def _is_quiet(figures: dict[str, list]) -> bool:
    return figures["false alarm"][1] <= GOALS["false alarm"]


def _lines(figures: dict[str, list], trial: Trial) -> Iterator[str]:
    yield f"people {trial.first_person} to {trial.first_person + trial.people - 1}, seed {trial.seed}"
    for name, (count, fraction, low, high, whole) in figures.items():
        goal = {"right name": " (goal: at least 95 %)", "false alarm": " (goal: at most 5 %)"}.get(name, "")
        yield f"{name:26} {count:4} of {whole:4}  {fraction:6.1%} [{low:.1%}, {high:.1%}]{goal}"


def _table(named: dict[str, dict[str, int]]) -> Iterator[str]:
    yield "which names were given:"
    for fault, names in named.items():
        yield f"{fault:26} " + ", ".join(f"{count} {name}" for name, count in names.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python miniature/lab/identity_check.py", description=__doc__.splitlines()[0])
    trial, add = Trial(), parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="where everything is drawn and reported")
    add("--first-person", type=int, default=trial.first_person, metavar="N", help="default: %(default)s")
    add("--people", type=int, default=trial.people, metavar="N", help="people who have photos (default: %(default)s)")
    add("--photos", type=int, default=trial.photos, metavar="N", help="photos of each (default: %(default)s)")
    add("--images", type=int, default=trial.images, metavar="N", help="with a fault, and as many without")
    add("--seed", type=int, default=trial.seed, help="of looks and scenes (default: %(default)s)")
    add("--recognizer", metavar="NAME", help="as of the check (default: the miniature's own)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
