"""What became of each person in an image.

The names are MultiBind's (arXiv 2603.21937: drift, swap, dominance, blending) and those of WithAnyone's MultiID-Bench
(arXiv 2510.14975: copy-paste, lost people, the number of faces).

kept          the face in the person's place is theirs
drifted       there is a face, and it is nobody's who is expected
swapped       it is another expected person's, who is not in their own place
dominated     it is another expected person's, whose face is on several
blended       it lies between the person and another expected one
pasted        kept, but nearer to one of the photos in pose, expression and light than the person's photos are to each
              other; where only embeddings are known, more like it
lost          there is no face
extra person  a face that belongs to nobody
unclear       the interval does not decide
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..metrics.case import FaceEmbeddings
from ..metrics.matching import best_assignment, faces_in_boxes
from ..metrics.similarity import unit
from .appearance import Look
from .calibration import LOOKS, Calibration, Nearness
from .images import Expected, Place
from .values import NOBODY, Checked, Finding, ImageFile, Name, People, SeenImage
from .weighing import Explanation, Weighed, interval, weigh

LEAST_SIDE = 0.03  # of the image's shorter side: a face smaller than that is background, and no extra person


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Weighs images against the same people."""

    people: People
    calibration: Calibration

    def check(self, image: ImageFile, seen: SeenImage, expected: Expected) -> Checked:
        """Raises ValueError where an embedding has no direction, or nobody of `expected` is known."""
        names = [name for name in expected.places if name in self.people.names]
        if not names:
            raise ValueError(f"{image.label}: nobody who is expected there is known by a photo.")
        view = _View.of(image, seen, names, self.people)
        places = [expected.places[name] for name in names]
        taken = _assigned(view, places)
        weighed = {face: self._weighed(view, face, taken) for face in range(seen.faces.count)}
        shown = Counter(weight.best.people[0] for weight in weighed.values() if len(weight.best.people) == 1)
        outside = self._outside(view, taken, weighed, placed=any(places))
        findings = [self._finding(view, place, taken, weighed, shown, outside) for place in range(len(names))]
        findings += [
            self._extra(view, face, weighed[face])
            for face in range(seen.faces.count)
            if face not in {*taken.values(), *outside.values(), *_unknown(view, taken, expected)}
            and view.is_large(face)
        ]
        note = expected.note(seen.size_px)
        return Checked(image, seen.size_px, tuple(findings), (note,) if note else ())

    def _weighed(self, view: "_View", face: int, taken: dict[int, int]) -> Weighed:
        own = next((place for place, its in taken.items() if its == face), None)
        return weigh(view.similarities[face], view.who, own, self.calibration)

    def _outside(
        self, view: "_View", taken: dict[int, int], weighed: dict[int, Weighed], placed: bool
    ) -> dict[int, int]:
        """Faces of lost people that stand outside their boxes."""
        found = {}
        for face, weight in weighed.items():
            if placed and face not in taken.values() and weight.is_decided and len(weight.best.people) == 1:
                (place,) = weight.best.people
                if place not in taken and place not in found:
                    found[place] = face
        return found

    def _finding(
        self,
        view: "_View",
        place: int,
        taken: dict[int, int],
        weighed: dict[int, Weighed],
        shown: Counter[int],
        outside: dict[int, int],
    ) -> Finding:
        name = view.names[place]
        if place not in taken:
            detail = "a face like theirs stands outside their place" if place in outside else ""
            return Finding(name, "lost", detail=detail)
        face = taken[place]
        weight = weighed[face]
        called, other, detail = self._called(view, place, weight, shown)
        finding = self._of_face(view, name, called, other, face, place, weight, detail)
        return self._with_copy(view, finding, place, face) if called == "kept" else finding

    def _called(self, view: "_View", place: int, weight: Weighed, shown: Counter[int]) -> tuple[Name, str, str]:
        if not weight.is_decided:
            return "unclear", "", f"between {_text(weight.best, place, view)} and {_text(weight.next, place, view)}"
        people = weight.best.people
        if not people:
            return "drifted", "", ""
        if people == (place,):
            return "kept", "", ""
        other = next(each for each in people if each != place)
        whose = view.names[other]
        if self._are_alike(view.names[place], whose):
            return "unclear", "", f"{whose} and {view.names[place]} cannot be told apart"
        if len(people) == 2:
            return "blended", whose, ""
        return ("dominated" if shown[other] > 1 else "swapped"), whose, ""

    def _with_copy(self, view: "_View", finding: Finding, place: int, face: int) -> Finding:
        """Kept or pasted: by the looks, and where these are not known by what the recognizer says."""
        person = view.who[place]
        album = self.people.people[person].album
        if self.calibration.look is None or album is None or view.looks is None:
            name, detail = _copy_verdict(self.calibration.nearest, person, float(view.nearest[face, place]))
            return replace(finding, name=name, detail=detail)
        photo, apart_px = album.nearest(view.looks[face])
        name, detail = _copy_verdict(self.calibration.look, person, apart_px)
        shown = photo if name == "pasted" else finding.photo
        return replace(finding, name=name, detail=detail, apart_px=apart_px, photo=shown)

    def _extra(self, view: "_View", face: int, weight: Weighed) -> Finding:
        like = weight.best.people[0] if weight.is_decided and weight.best.people else None
        other = "" if like is None else view.names[like]
        return self._of_face(view, NOBODY, "extra person", other, face, like, weight, "")

    def _of_face(
        self,
        view: "_View",
        person: str,
        called: Name,
        other: str,
        face: int,
        place: int | None,
        weight: Weighed,
        detail: str,
    ) -> Finding:
        similarity = low = high = nearest = photo = None
        if place is not None:
            similarity, nearest = float(view.similarities[face, place]), float(view.nearest[face, place])
            low, high = interval(similarity, view.who[place], self.calibration)
            photo = int(view.photo[face, place])
        box = tuple(view.faces.boxes_px[face].tolist())
        odds = weight.odds, weight.low
        return Finding(person, called, other, box, similarity, low, high, nearest, None, photo, odds, detail)

    def _are_alike(self, first: str, second: str) -> bool:
        return (first, second) in self.people.alike or (second, first) in self.people.alike


@dataclass(frozen=True, eq=False)
class _View:
    """An image's faces beside the people expected in it.

    who           for each expected person their place among all people
    similarities  float64 [faces, expected]: mean cosine with the person's photos
    nearest       the same shape: the highest cosine with one of them
    photo         int, the same shape: which one that is
    looks         of each face, None where the image itself is not known
    """

    size_px: tuple[int, int]
    faces: FaceEmbeddings
    names: list[str]
    who: list[int]
    similarities: np.ndarray
    nearest: np.ndarray
    photo: np.ndarray
    looks: tuple[Look, ...] | None

    @classmethod
    def of(cls, image: ImageFile, seen: SeenImage, names: list[str], people: People) -> "_View":
        who = [people.names.index(name) for name in names]
        count = seen.faces.count
        units = unit(seen.faces.embeddings, image.label) if count else None
        similarities, nearest = np.zeros((2, count, len(who)))
        photo = np.zeros((count, len(who)), np.int64)
        for place, index in enumerate(who):
            if units is not None:
                cosines = units @ people.people[index].embeddings.T
                similarities[:, place], nearest[:, place] = cosines.mean(axis=1), cosines.max(axis=1)
                photo[:, place] = cosines.argmax(axis=1)
        return cls(seen.size_px, seen.faces, names, who, similarities, nearest, photo, seen.looks)

    def is_large(self, face: int) -> bool:
        x1, y1, x2, y2 = self.faces.boxes_px[face].tolist()
        return max(x2 - x1, y2 - y1) >= LEAST_SIDE * min(self.size_px)


def _copy_verdict(nearness: Nearness, person: int, value: float) -> tuple[Name, str]:
    name = nearness.verdict(person, value)
    if name == "kept":
        return name, ""
    reached, _ = nearness.bounds(person)
    if nearness.measure is LOOKS:
        text = (
            f"features {value:.2f} px from where a photo has them; the person's photos come as near as {reached:.2f} px"
        )
    else:
        text = f"embeddings {value:.2f} like one photo; the person's photos reach {reached:.2f} with each other"
    return name, text if name == "pasted" else f"kept or pasted: {text}"


def _assigned(view: _View, places: Sequence[Place]) -> dict[int, int]:
    """The face of each expected person: by their box where they have one, else by likeness among the faces left."""
    boxes_px = {index: box.to_px(*view.size_px) for index, box in enumerate(places) if box is not None}
    taken: dict[int, int] = {}
    if boxes_px and view.faces.count:
        placed = list(boxes_px)
        taken = {placed[index]: face for index, face in faces_in_boxes(list(boxes_px.values()), view.faces).items()}
    others = [index for index, box in enumerate(places) if box is None]
    # What stands in the background is nobody's face as long as there are larger ones.
    free = [face for face in range(view.faces.count) if face not in taken.values() and view.is_large(face)]
    if others and free:
        pairs = best_assignment(view.similarities[np.ix_(free, others)])
        taken |= {others[column]: free[row] for row, column in pairs}
    return taken


def _unknown(view: _View, taken: Mapping[int, int], expected: Expected) -> set[int]:
    """Faces of people who are expected and have no photos: those in their boxes, and one for each without a box."""
    unknown = [box for name, box in expected.places.items() if name not in view.names]
    free = [face for face in range(view.faces.count) if face not in taken.values()]
    boxes = [box.to_px(*view.size_px) for box in unknown if box is not None]
    placed = faces_in_boxes(boxes, view.faces) if boxes else {}
    found = {face for face in placed.values() if face in free}
    return found | set([face for face in free if face not in found][: unknown.count(None)])


def _text(explanation: Explanation, place: int, view: _View) -> str:
    if not explanation.people:
        return "drifted"
    if explanation.people == (place,):
        return "kept"
    other = view.names[next(each for each in explanation.people if each != place)]
    return f"blended with {other}" if len(explanation.people) == 2 else f"{other}'s face"
