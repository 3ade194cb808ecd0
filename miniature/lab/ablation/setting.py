"""From what the user asked for to all that runs share; photos, cache and start are made where none is named."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.cache.files import read_cache
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.files.digest import file_sha256
from withanyone_core.metrics.judges import load_judge

from ...generation import shipped_generator
from ...models.classifiers import load_classifiers
from ...weights_folder import FACES, FLUX, SIGLIP, VAE_FILE
from ..recipes.classifiers import FILE as CLASSIFIERS
from ..recipes.photos import PhotoSet, write_photos
from ..steering import shipped_photo_reader
from .commands import RECOGNIZER, digest, model_changes, prepared, settings_of
from .images import Eyes, strangers
from .ladder import Bench, Ladder
from .sliders import slider_of
from .start import joined_start, made_start, start_words
from .variants import COMMON, SHORT, UNWATCHED

JUDGE = "judge.json"
MODELS = (FLUX, VAE_FILE, SIGLIP, f"{FACES}/{RECOGNIZER}")
FIRST_PERSON, PORTRAITS, GROUPS_A_PERSON = 400_000, 4, 1
# What a caption says nobody has to copy: where expression and direction are left out, the reference alone shows them.
SILENT_CAPTIONS = 0.5
# Many small people: a few are so alike that prepare.py cannot tell their folders apart.
PREPARING = ("held_out=0", "crops=1", "unclear_folders=leave_out")


@dataclass(frozen=True)
class Setting:
    """What was asked for.

    changes     settings of finetune.py for all variants
    start       files of the adapter that all start from, at most one a branch; none: one is made in `start_steps`
    steps       of each run
    cache       of prepared photos; None: `identities` people are rendered and prepared
    images    generated for each value of the slider, in `sampler_steps`
    weights     folder of the small world's models
    scratch     for photos, caches and runs
    workers     processes that render photos; None: one a core
    """

    recipe: Path
    weights: Path
    scratch: Path
    changes: tuple[str, ...]
    steps: int
    start: tuple[Path, ...]
    start_steps: int
    cache: Path | None
    identities: int
    images: int
    sampler_steps: int
    workers: int | None = None


def load_bench(weights: Path) -> Bench:
    """ImageGenerator, reader of photos and judge of a folder of weights."""
    eyes = Eyes(shipped_photo_reader(weights), load_judge(weights / JUDGE), load_classifiers(weights / CLASSIFIERS))
    return Bench(shipped_generator(weights), eyes)


def ladder_of(setting: Setting, bench: Bench) -> Ladder:
    """What all runs share. Raises readable errors for what is missing or given wrongly, before anything long begins."""
    folder = setting.cache or setting.scratch / f"cache_{setting.identities}"
    given = joined_start(setting.start, setting.scratch) if setting.start else None
    changes = (*model_changes(setting.weights, folder), *_branch(given), *setting.changes)
    all_changes = (*COMMON, *SHORT, *UNWATCHED, *changes, *_lengths(setting.steps))
    known = settings_of(setting.recipe, (*all_changes, "adapter.init=none"), setting.scratch)
    if setting.cache is None:
        _make_cache(setting, folder)
    cache = read_cache(folder)
    models = model_digests(setting.weights)
    made_of = digest([models, cache.data])
    start = given or made_start(setting.recipe, changes, setting.start_steps, setting.scratch, made_of)
    shared = {
        "settings": digest(known),
        "steps": known["optim"]["steps"],
        "batch": known["optim"]["batch_size"] * known["optim"]["gradient_accumulation_steps"],
        "sampler_steps": setting.sampler_steps,
        "start": file_sha256(start),
        "start_words": start_words(start, setting.start),
        "people": len(cache.identities),
        "photos": len(cache.images),
        "data": cache.data,
        "models": models,
        "judge": bench.eyes.judge.fingerprint,
    }
    test = strangers(setting.images, bench.eyes)
    slider = slider_of(known["adapter"]["branch"])
    return Ladder(
        setting.recipe,
        all_changes,
        start.absolute(),
        slider,
        test,
        setting.sampler_steps,
        shared,
        setting.scratch / "runs",
    )


def model_digests(weights: Path) -> Mapping[str, str]:
    """SHA-256 of the models that training reads, by file name. FileNotFoundError for one that is missing."""
    return {name: file_sha256(weights / name) for name in MODELS}


def _branch(start: Path | None) -> tuple[str, ...]:
    """All branches of a given start are trained, where nothing else is said."""
    if start is None:
        return ()
    shapes = inspect_adapter(start).shapes
    return (f"adapter.branch={'both' if len(shapes) > 1 else next(iter(shapes)).value}",)


def _lengths(steps: int) -> tuple[str, ...]:
    """A quarter of a run is lost at most when it is stopped."""
    return f"optim.steps={steps}", f"validation.every_steps={steps}", f"save.every_steps={max(1, steps // 4)}"


def _make_cache(setting: Setting, folder: Path) -> None:
    """Photos of people who are in no other set, prepared; nothing is done where that is done."""
    if (folder / "cache.json").is_file():
        return
    photos = setting.scratch / f"photos_{setting.identities}"
    people = setting.identities
    photo_set = PhotoSet(FIRST_PERSON, people, PORTRAITS, GROUPS_A_PERSON * people, silent=SILENT_CAPTIONS)
    write_photos(photo_set, photos, setting.workers)
    prepared(photos, folder, PREPARING)
