"""`python training/setup.py COMFYUI --out FOLDER`

Finds the models that training needs in ComfyUI's own folders and writes the two configurations of a run, complete and
commented. Says of everything that is missing where it comes from and under which licence. Downloads nothing.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from withanyone_core.command import packages_needed, run_command

if TYPE_CHECKING:
    from training.configuration.models_on_disk import ModelsOnDisk
    from training.configuration.reading import Section, Tree

RECIPES = Path(__file__).resolve().parent / "recipes"
CARDS_GIB = {"12gb": 12, "16gb": 16, "24gb": 24, "80gb": 80}  # recipes by the memory of the card they are for
DEFAULT_CARD = "24gb"
PREPARE, FINETUNE = "prepare.yaml", "finetune.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where both files are written, 1 where a model is missing, 2 for anything given wrongly."""
    return run_command("setup", _parser(), _run, arguments, lambda options: options.comfyui is None)


def _run(options: argparse.Namespace) -> int:
    with packages_needed("Training"):
        from training.configuration.models_on_disk import find_models
    from withanyone_core.download.folders import EXTRA_PATHS, ModelFolders, read_extra_folders

    comfyui = options.comfyui.expanduser().absolute()
    if not (comfyui / "models").is_dir():
        raise ValueError(f"There is no folder {comfyui / 'models'}. Name ComfyUI's own folder, which holds models/.")
    taken = [options.out / name for name in (PREPARE, FINETUNE) if (options.out / name).exists()]
    if taken:
        raise ValueError(f"{taken[0]} is there already and stays as it is. Choose another folder with --out.")
    own = [comfyui / EXTRA_PATHS] if (comfyui / EXTRA_PATHS).is_file() else []
    extra = [folder for file in [*own, *options.extra_model_paths] for folder in read_extra_folders(file)]
    found = find_models(comfyui, ModelFolders(comfyui / "models", tuple(extra)))
    sys.stdout.write("\n".join(_listed(found)) + "\n")
    if not found.is_complete:
        sys.stdout.write("\nNothing was written. Put what is missing in its place and repeat the command.\n")
        return 1
    card = options.card or _card_here()
    _write(found, options.out, card)
    sys.stdout.write(_next_steps(options.out, card))
    return 0


def _listed(found: "ModelsOnDisk") -> Iterator[str]:
    """A line for each thing that training needs: where it is, or where it comes from."""
    from training.configuration.models_on_disk import ROLES
    from withanyone_core.download.published import FACE_PACK, FACE_PACK_LICENCE, FACE_PACK_WHAT

    fetch = "python -m withanyone_core.download --only"
    for role in ROLES:
        source = role.source
        if role in found.files:
            more = f" (also here: {', '.join(path.name for path in found.others[role])})" if found.others[role] else ""
            yield f"found    {source.what}: {found.files[role]}{more}"
        elif role.required:
            yield f"MISSING  {source.what}: `{fetch} {source.name}`, from {source.repo}; licence: {source.licence}"
        else:
            yield f"without  {source.what}: only the sig branch needs it; `{fetch} {source.name}` ({source.licence})"
    if found.face_pack is None:
        yield f"MISSING  {FACE_PACK_WHAT}: `{fetch} {FACE_PACK}`; licence: {FACE_PACK_LICENCE}"
    else:
        yield f"found    {FACE_PACK_WHAT}: {found.face_pack}"
    for name, folder in (("T5's tokenizer", found.t5_tokenizer), ("CLIP's tokenizer", found.clip_tokenizer)):
        lost = f"MISSING  {name}: it comes with ComfyUI's program, in comfy/; name the folder that holds main.py"
        yield lost if folder is None else f"found    {name}: {folder}"
    if found.judge is None:
        yield (
            "without  a judge, a recognizer that training does not use: no likeness and no copying can be measured, "
            "and nothing stops a run that only copies. Free for any use: "
            "`python -m pip install dlib-bin face_recognition_models`"
        )
    else:
        yield f"found    a judge, which only measures: {found.judge}"


def _write(found: "ModelsOnDisk", out: Path, card: str) -> None:
    """Both files, checked as their commands will check them."""
    from training.configuration.finetune import Finetune
    from training.configuration.preparing import PrepareSettings

    out.mkdir(parents=True, exist_ok=True)
    _write_one(PrepareSettings, _prepare_tree(found), out / PREPARE, "training/prepare.py")
    _write_one(Finetune, _finetune_tree(found, card), out / FINETUNE, "training/finetune.py")


def _write_one(model: "type[Section]", tree: "Tree", path: Path, command: str) -> None:
    from training.configuration.commented import commented_yaml
    from training.configuration.reading import checked
    from training.evaluation.records import write_text

    head = f"# python {command} {path.name}\n# Paths are relative to this file's folder.\n\n"
    write_text(path, head + commented_yaml(checked(model, tree, path.name, path.parent.absolute()), tree))


def _prepare_tree(found: "ModelsOnDisk") -> "Tree":
    from training.configuration.models_on_disk import CLIP, SIGLIP, T5, VAE

    encoders = {"vae": found.files[VAE], "t5": found.files[T5], "clip": found.files[CLIP]}
    encoders |= {"t5_tokenizer": found.t5_tokenizer, "clip_tokenizer": found.clip_tokenizer}
    if SIGLIP in found.files:
        encoders["siglip"] = found.files[SIGLIP]
    return {
        "data": "photos",
        "cache": "cache",
        "faces": {"pack": str(found.face_pack)},
        "encoders": {name: str(path) for name, path in encoders.items()},
    }


def _finetune_tree(found: "ModelsOnDisk", card: str) -> "Tree":
    """The recipe for a card with this run's paths in it."""
    from training.configuration.models_on_disk import ADAPTER, BASE, VAE
    from training.configuration.reading import read_tree, set_key

    tree: Tree = {"out": "run"}
    for name in ("finetune", card):
        for section, values in read_tree(RECIPES / f"{name}.yaml").items():
            tree[section] = {**tree.get(section, {}), **values}
    paths = {
        "base.path": str(found.files[BASE]),
        "base.vae": str(found.files[VAE]),
        "adapter.init": str(found.files[ADAPTER]),
        "data.cache": "cache",
        "id_loss.recognizer": str(found.recognizer),
        "validation.face_pack": str(found.face_pack),
        "validation.judges": [] if found.judge is None else [str(found.judge)],
    }
    for key, value in paths.items():
        set_key(tree, key, value)
    return tree


def _card_here() -> str:
    """The largest recipe that fits the card of this machine; that of DEFAULT_CARD where there is none."""
    import torch

    if not torch.cuda.is_available():
        return DEFAULT_CARD
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    fitting = [name for name, size in CARDS_GIB.items() if size <= memory * 1.05]  # cards hold a little less than said
    return fitting[-1] if fitting else next(iter(CARDS_GIB))


def _next_steps(out: Path, card: str) -> str:
    return (
        f"\nWrote {out / PREPARE} and {out / FINETUNE} (recipe {card}). Now:\n"
        f"  1. put 10 to 50 photos of each person into {out / 'photos/identities/NAME'}, and photos of a few hundred\n"
        f"     other people into {out / 'photos/negatives'}\n"
        f"  2. python training/prepare.py {out / PREPARE}\n"
        f"  3. python training/doctor.py {out / FINETUNE}    (says what memory it takes)\n"
        f"  4. python training/finetune.py {out / FINETUNE}\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/setup.py",
        description="Finds the models that training needs in ComfyUI's folders and writes the configurations of a run, "
        "complete and commented. Downloads nothing.",
    )
    add = parser.add_argument
    add("comfyui", nargs="?", type=Path, metavar="COMFYUI", help="ComfyUI's folder, which holds models/")
    add("--out", type=Path, default=Path("my_training"), metavar="FOLDER", help="of the run (default: %(default)s)")
    add("--card", choices=list(CARDS_GIB), help="recipe by the card's memory (default: the card of this machine)")
    add(
        "--extra-model-paths",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="as ComfyUI's --extra-model-paths-config; the extra_model_paths.yaml in its folder is read anyway",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
