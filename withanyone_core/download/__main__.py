"""`python -m withanyone_core.download`: every file WithAnyone needs, each into its ComfyUI folder."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..command import INTERRUPTED, run_command
from .face_pack import fetch_pack, pack_fault, pack_folders
from .folders import EXTRA_PATHS, ModelFolders, find_comfyui, read_extra_folders
from .hub import DownloadError, describe, fetch, is_same, partial_file
from .published import FACE_PACK, FACE_PACK_LICENCE, FACE_PACK_SIZE, FACE_PACK_WHAT, HUB_FILES, HubFile

SETS = ("base", "kontext", "judge")
ADAPTER_SETS = SETS[:2]


def main(arguments: Sequence[str] | None = None, files: Sequence[HubFile] = HUB_FILES) -> int:
    """0 if every chosen file is in its place afterwards, 1 if one is not, 130 after Ctrl+C."""
    parser = _parser(files)
    return run_command("download", parser, partial(_run, files, parser), arguments)


def _run(files: Sequence[HubFile], parser: argparse.ArgumentParser, choices: argparse.Namespace) -> int:
    folders = _folders(choices, parser)
    revisions = _revisions(choices.revision, files, parser)
    faults = []
    try:
        for file in files:
            if _is_chosen(choices.only, file.name, file.needs):
                faults += _attempt(file.name, partial(_hub_file, file, folders, revisions, choices))
        if _is_chosen(choices.only, FACE_PACK, ADAPTER_SETS):
            faults += _attempt(FACE_PACK, partial(_face_pack, folders, choices.dry_run))
    except KeyboardInterrupt:
        _write("\nStopped. What has arrived is kept; run the same command again to resume from there.")
        return INTERRUPTED
    _write(f"\n{len(faults)} could not be fetched: {', '.join(faults)}." if faults else "\nEverything is in its place.")
    return 1 if faults else 0


def _parser(files: Sequence[HubFile]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m withanyone_core.download",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fetches the files WithAnyone needs into ComfyUI's model folders and compares size and SHA-256\n"
        "with the hub. An interrupted download resumes where it stopped. A file that is there is never overwritten.\n"
        "Nothing else in this pack downloads anything.",
        epilog="files:\n" + "\n".join(_listed(files)) + f"\nsets: {', '.join(SETS)}; without --only, everything",
    )
    parser.add_argument(
        "--comfyui", type=Path, metavar="DIR", help="ComfyUI's folder (default: the one this pack is in)"
    )
    parser.add_argument(
        "--base-directory", type=Path, metavar="DIR", help="as ComfyUI's option: models are in DIR/models"
    )
    parser.add_argument(
        "--extra-model-paths",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"as ComfyUI's --extra-model-paths-config; the {EXTRA_PATHS} in ComfyUI's folder is read anyway. New "
        "files go into its folders where they are marked is_default",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=_names(files), help="only these files or sets")
    parser.add_argument(
        "--revision", nargs="+", default=[], metavar="NAME=COMMIT", help="fetch this revision instead of the known one"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="another hub, such as a mirror (default: HF_ENDPOINT or the hub)"
    )
    parser.add_argument("--dry-run", action="store_true", help="ask the hub and say what would be done; fetch nothing")
    return parser


def _listed(files: Sequence[HubFile]) -> list[str]:
    rows = [(file.name, file.what, file.needs, file.size, file.licence) for file in files]
    rows.append((FACE_PACK, FACE_PACK_WHAT, ADAPTER_SETS, FACE_PACK_SIZE, FACE_PACK_LICENCE))
    return [
        f"  {name:<13} {what}; set {', '.join(needs)}; {licence}{f'; {_size(size)}' if size else ''}"
        for name, what, needs, size, licence in rows
    ]


def _names(files: Sequence[HubFile]) -> list[str]:
    return [*SETS, *(file.name for file in files), FACE_PACK]


def _is_chosen(only: Sequence[str] | None, name: str, needs: Sequence[str]) -> bool:
    return only is None or bool({name, *needs} & set(only))


def _folders(choices: argparse.Namespace, parser: argparse.ArgumentParser) -> ModelFolders:
    comfyui = choices.comfyui or find_comfyui(Path(__file__).absolute())
    base = choices.base_directory or comfyui
    if base is None:
        parser.error("this pack does not lie in ComfyUI's custom_nodes, so say where ComfyUI is: --comfyui DIR")
    if not base.is_dir():
        parser.error(f"there is no folder {base}")
    own = [comfyui / EXTRA_PATHS] if comfyui and (comfyui / EXTRA_PATHS).is_file() else []
    try:
        extra = [folder for file in [*own, *choices.extra_model_paths] for folder in read_extra_folders(file)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return ModelFolders(base.absolute() / "models", tuple(extra))


def _revisions(given: Sequence[str], files: Sequence[HubFile], parser: argparse.ArgumentParser) -> dict[str, str]:
    pairs = {name: revision for name, _, revision in (text.partition("=") for text in given)}
    names = [file.name for file in files]
    for name, revision in pairs.items():
        if name not in names or not revision:
            parser.error(f"--revision takes NAME=COMMIT with a NAME of {', '.join(names)}; got {name}={revision}")
    return pairs


def _attempt(name: str, step: Callable[[], None]) -> list[str]:
    """The name, if its step failed; the others are tried all the same."""
    try:
        step()
    except (DownloadError, OSError) as error:
        _write(f"  NOT DONE {error}")
        return [name]
    return []


def _hub_file(file: HubFile, folders: ModelFolders, revisions: Mapping[str, str], choices: argparse.Namespace) -> None:
    _write(f"\n{file.name}: {file.what}\n  licence  {file.licence}")
    remote = describe(file, revisions.get(file.name), choices.endpoint)
    found = folders.existing(file.folder, remote.target)
    target = found or folders.of(file.folder)[0] / remote.target
    _write(f"  from     {remote.url}\n  to       {target} ({_size(remote.size)})")
    if found is not None:
        if not is_same(found, remote):
            raise DownloadError(
                f"{found} is another file than the hub's (size or SHA-256 differ). It was left as it is: move or "
                "rename it and run this again, or keep it if you know what it is."
            )
        _write("  is there already, with the hub's size and SHA-256")
    elif choices.dry_run:
        begun = " (and resume with what has arrived)" if partial_file(remote, target).exists() else ""
        _write(f"  would be fetched{begun}")
    else:
        fetch(remote, target)
        _write(
            f"  fetched; {'size and SHA-256 are' if remote.sha256 else 'the hub names no SHA-256, the size is'} right"
        )


def _face_pack(folders: ModelFolders, dry_run: bool) -> None:
    _write(f"\n{FACE_PACK}: {FACE_PACK_WHAT}\n  licence  {FACE_PACK_LICENCE}")
    places = pack_folders(folders.of("insightface"))
    found = next((place for place in places if place.is_dir() and any(place.iterdir())), None)
    target = found or places[0]
    _write(f"  from     insightface's own downloader\n  to       {target} ({_size(FACE_PACK_SIZE)})")
    if found is not None:
        fault = pack_fault(found)
        if fault:
            raise DownloadError(f"{found}: {fault}. It was left as it is: move or rename it and run this again.")
        _write("  is there already, with the published SHA-256")
    elif dry_run:
        _write("  would be fetched")
    else:
        fetch_pack(target)
        _write("  fetched; the SHA-256 of detector and recognizer are right")


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
