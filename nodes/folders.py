"""Where the pack looks for models: `models/withanyone`, and the packs of insightface that other nodes share."""

from pathlib import Path, PureWindowsPath

import folder_paths

from ..withanyone_core.faces.dlib_analysis import DLIB, is_dlib_installed
from ..withanyone_core.files.digest import file_stamp, files_stamp

ADAPTERS = "withanyone"
ADAPTER_LORAS = "withanyone_loras"
INSIGHTFACE = "insightface"
DEFAULT_PACK = "antelopev2"


def register_model_folders() -> None:
    """Makes our folders known to ComfyUI, keeping what the user or other packs registered before."""
    _register(ADAPTERS, {".safetensors", ".sft"})
    _register(ADAPTER_LORAS, {".safetensors", ".sft"})
    _register(INSIGHTFACE, {".onnx"})


def face_pack_names() -> list[str]:
    """Folders of face models under any registered insightface folder, antelopev2 whether it is there or not, and dlib
    where pip's packages of it are.
    """
    found = {path.name for root in _pack_roots() if root.is_dir() for path in root.iterdir() if path.is_dir()}
    return sorted(found | {DEFAULT_PACK} | ({DLIB} if is_dlib_installed() else set()))


def face_pack_dir(name: str) -> Path:
    """The folder of a face pack; where it does not exist yet, the one it belongs into.

    Raises ValueError for a name that is not one folder's: it may come from a stranger's workflow.
    """
    # It knows the separators of every system, and drives.
    if PureWindowsPath(name).name != name or name in ("", ".."):
        raise ValueError(f"The face pack {name!r} is not the name of a folder under models/insightface/models.")
    candidates = [root / name for root in _pack_roots()]
    return next((path for path in candidates if path.is_dir()), candidates[0])


def model_file(folder: str, name: str, what: str) -> Path:
    """The full path of a model file chosen in a widget.

    Raises ValueError for a name that leaves the folder (it may come from a stranger's workflow), and FileNotFoundError
    that says where `what` belongs.
    """
    parts = PureWindowsPath(name)  # knows the separators of every system, and drives
    if parts.anchor or ".." in parts.parts:
        raise ValueError(f"{name!r} leaves the folder models/{folder}. Put {what} there and choose it in the node.")
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        places = " or ".join(folder_paths.get_folder_paths(folder))
        raise FileNotFoundError(f"{name!r} is not in {places}. Put {what} there and choose it in the node.")
    return Path(path)


def found(folder: str, name: str, what: str) -> bool | str:
    """For `validate_inputs`: True, or what to do. ComfyUI's own "value not in list" does not say."""
    try:
        model_file(folder, name, what)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return True


def stamp(folder: str, name: str, what: str) -> str:
    """For `fingerprint_inputs`: changes with the content of a model file, so that ComfyUI loads a changed one again."""
    return file_stamp(model_file(folder, name, what))


def face_pack_stamp(name: str) -> str:
    """The same for a face pack, wherever in its folder the files lie."""
    return files_stamp(face_pack_dir(name).rglob("*.onnx"))


def _pack_roots() -> list[Path]:
    return [Path(path) / "models" for path in folder_paths.get_folder_paths(INSIGHTFACE)]


def _register(key: str, extensions: set[str]) -> None:
    default = str(Path(folder_paths.models_dir) / key)
    paths, known_extensions = folder_paths.folder_names_and_paths.get(key, ([], set()))
    # At the end: what the user or another pack has registered is found before ours.
    if default not in paths:
        paths = [*paths, default]
    folder_paths.folder_names_and_paths[key] = (paths, set(known_extensions) | extensions)
