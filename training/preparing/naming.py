"""From detected faces to names: usable photos, checked folders, and who is who in every photo."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .assignment import assign_names, names_from_left
from .detection import DetectedPhoto
from .duplicates import duplicates
from .people import FolderCheck, alike, check_folder
from .reasons import Reason, by_cause, counted, first_of
from .sources import Source

UnclearFolders = Literal["stop", "leave_out"]

logger = logging.getLogger("withanyone")

Pair = tuple[Source, DetectedPhoto]
LEAST_PHOTOS = 2  # of a person: reference and target
FEW_PHOTOS = 5


@dataclass(frozen=True, eq=False)
class NamedPhoto:
    """A usable photo: whose each face is, by number of the face; a face without a name belongs to a stranger."""

    source: Source
    detected: DetectedPhoto
    names: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Naming:
    """What became of every photo.

    photos     usable ones of people and groups
    negatives  photos of other people with at least one face
    rejected   every other photo, with why
    centres    of the people who are trained, unit embeddings
    warnings   for the user
    """

    photos: tuple[NamedPhoto, ...]
    negatives: tuple[tuple[Source, DetectedPhoto], ...]
    rejected: tuple[tuple[Source, DetectedPhoto, Reason], ...]
    centres: Mapping[str, np.ndarray]
    warnings: tuple[str, ...]


@dataclass
class _Log:
    """Rejected photos and warnings, collected along the way."""

    rejected: list[tuple[Source, DetectedPhoto, Reason]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def named(
    sources: Sequence[Source],
    detections: Sequence[DetectedPhoto],
    duplicate_bits: int,
    least_side_px: int,
    centres: Mapping[str, np.ndarray] | None = None,
    unclear: UnclearFolders = "stop",
) -> Naming:
    """Names for the faces of all photos.

    duplicate_bits  see `duplicates`
    least_side_px   photos with a shorter side are left out; 0: none are
    centres         of people known beforehand, unit embeddings, who need no folder; None for a user's own photos
    unclear         what becomes of a folder that shows two people or whose faces disagree: in a user's own photos it is
                    a mistake to be put right ("stop"), among thousands it is left out

    Raises ValueError, listing every unclear folder where these stop, and where nobody has two usable photos.
    """
    log = _Log()
    usable = _usable(sources, detections, least_side_px, log)
    negatives = [pair for pair in usable if pair[0].kind == "negative"]
    of_people = _without_repeats([pair for pair in usable if pair[0].kind == "identity"], duplicate_bits, log)
    checks = _checked_folders(of_people, log, unclear == "stop")
    known = {**(centres or {}), **{person: check.centre for person, (check, _) in checks.items() if check.accepted}}
    log.warnings += alike(known) if centres is None else []
    photos = [
        NamedPhoto(source, detected, assign_names(detected.embeddings, known, {check.accepted[number]: person}))
        for person, (check, pairs) in checks.items()
        for number, (source, detected) in enumerate(pairs)
        if number in check.accepted
    ]
    groups = [pair for pair in usable if pair[0].kind == "group"]
    photos += [NamedPhoto(source, detected, _group_names(source, detected, known, log)) for source, detected in groups]
    photos, negatives = _once(photos, negatives, duplicate_bits, log)
    _check_numbers(photos, known, log)
    log.warnings += [
        f"Nobody is trained as {person}: none of the photos in that folder can be used."
        for person in dict.fromkeys(source.person for source in sources if source.person)
        if person not in known
    ]
    log.warnings[:0] = [
        f"{counted(names)} of {len(sources)} not used: {first_of(names)}: {cause}."
        for cause, names in by_cause((source.name, reason) for source, _, reason in log.rejected)
    ]
    for warning in log.warnings:
        logger.warning("%s", warning)
    return Naming(tuple(photos), tuple(negatives), tuple(log.rejected), known, tuple(log.warnings))


def _usable(
    sources: Sequence[Source], detections: Sequence[DetectedPhoto], least_side_px: int, log: _Log
) -> list[Pair]:
    """Readable photos with faces that are large enough."""
    found = []
    for source, detected in zip(sources, detections, strict=True):
        reason = _why_not(source, detected, least_side_px)
        if reason is None:
            found.append((source, detected))
        else:
            log.rejected.append((source, detected, reason))
    return found


def _why_not(source: Source, detected: DetectedPhoto, least_side_px: int) -> Reason | None:
    if detected.unreadable:
        return Reason("it cannot be read", detected.unreadable)
    if source.kind != "negative" and min(detected.width_px, detected.height_px) < least_side_px:
        return Reason(
            f"it is smaller than the smallest training size, {least_side_px}; set upscale=true to use it all the same",
            f"{detected.width_px} x {detected.height_px} pixels",
        )
    return None if detected.faces else Reason("no face was found in it; the head must be whole and the face uncovered")


def _without_repeats(pairs: Sequence[Pair], bits: int, log: _Log) -> list[Pair]:
    """The photos of people without those that repeat another of the same person's: they would weigh twice there."""
    left = {detected for folder in _by_person(pairs).values() for detected in _repeats(folder, bits, log)}
    return [pair for pair in pairs if pair[1] not in left]


def _by_person(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    folders: dict[str, list[Pair]] = {}
    for pair in pairs:
        folders.setdefault(pair[0].person or "", []).append(pair)
    return folders


def _once(
    photos: Sequence[NamedPhoto], negatives: Sequence[Pair], bits: int, log: _Log
) -> tuple[list[NamedPhoto], list[Pair]]:
    """Of a photo that lies in several folders, the copy in which most people have a name.

    Only now, when it is known which copies are of use: dropped before, a photo would be lost with a copy that is not.
    """
    ranked = sorted(photos, key=lambda photo: -len(photo.names))
    left = _repeats([*((photo.source, photo.detected) for photo in ranked), *negatives], bits, log)
    return [photo for photo in photos if photo.detected not in left], [
        pair for pair in negatives if pair[1] not in left
    ]


def _repeats(pairs: Sequence[Pair], bits: int, log: _Log) -> set[DetectedPhoto]:
    """What repeats an earlier photo; it is logged."""
    repeated = duplicates([detected.hash for _, detected in pairs], bits)
    for number, earlier in repeated.items():
        log.rejected.append((*pairs[number], Reason("it shows the same as another photo", pairs[earlier][0].name)))
    return {pairs[number][1] for number in repeated}


def _checked_folders(usable: Sequence[Pair], log: _Log, strict: bool) -> dict[str, tuple[FolderCheck, list[Pair]]]:
    checks, problems = {}, []
    for person, pairs in _by_person(usable).items():
        check = check_folder(
            person, [source.name for source, _ in pairs], [detected.embeddings for _, detected in pairs]
        )
        if check.problem:
            problems.append(check.problem)
            log.rejected += [(*pair, Reason(check.problem)) for pair in pairs]
            continue
        checks[person] = (check, pairs)
        for number, reason in check.outliers.items():
            log.rejected.append((*pairs[number], reason))
    if problems and strict:
        raise ValueError("\n".join(problems))
    log.warnings += problems
    return checks


def _group_names(
    source: Source, detected: DetectedPhoto, centres: Mapping[str, np.ndarray], log: _Log
) -> dict[int, str]:
    if source.ordered:
        found = names_from_left([face.box_px[0] + face.box_px[2] for face in detected.faces], source.names)
        if found is not None:
            return {face: name for face, name in found.items() if name in centres}
        log.warnings.append(
            f"{source.name}: {len(source.names)} faces are named, and {len(detected.faces)} were found; people are "
            "told apart by face instead."
        )
    wanted = [name for name in source.names if name]
    among = {name: centres[name] for name in wanted if name in centres} if wanted else centres
    return assign_names(detected.embeddings, among)


def _check_numbers(photos: Sequence[NamedPhoto], centres: Mapping[str, np.ndarray], log: _Log) -> None:
    """Enough photos of each person; ValueError where nobody has two, or nothing can be used at all."""
    if not photos:
        raise ValueError(f"None of the photos can be used.{_because(log)}")
    counts = Counter(name for photo in photos for name in photo.names.values())
    few = {person: counts[person] for person in centres if counts[person] < FEW_PHOTOS}
    single = [person for person, count in few.items() if count < LEAST_PHOTOS]
    if centres and len(single) == len(centres):
        raise ValueError(
            f"Nobody has two usable photos ({', '.join(f'{person}: {counts[person]}' for person in single[:8])}). "
            "A person is learnt from pairs, one photo being the reference and another the target; a single photo can "
            f"only be copied. Add photos, 10 to 50 of each person.{_because(log)}"
        )
    for person, count in few.items():
        only = "can only be copied" if count < LEAST_PHOTOS else "are few; 15 make a likeness that does not copy"
        log.warnings.append(f"{person}: {count} usable photo{'s' * (count != 1)}, which {only}.")


def _because(log: _Log) -> str:
    reasons = [f"{source.name}: {reason}" for source, _, reason in log.rejected[:5]]
    return f" Not usable: {'; '.join(reasons)}." if reasons else ""
