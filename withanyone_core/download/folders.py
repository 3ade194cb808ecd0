"""Where ComfyUI looks for each kind of model: its models folder, and what extra_model_paths.yaml adds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

EXTRA_PATHS = "extra_model_paths.yaml"
# Folders of ComfyUI's own, the one to write into first; it also looks into the others.
_OWN = {"diffusion_models": ("diffusion_models", "unet"), "text_encoders": ("text_encoders", "clip")}
_OLD_KEYS = {"unet": "diffusion_models", "clip": "text_encoders"}
_SETTINGS = ("base_path", "is_default")


@dataclass(frozen=True)
class ExtraFolder:
    """A folder that extra_model_paths.yaml gives for a key; `is_default` puts it before ComfyUI's own."""

    key: str
    path: Path
    is_default: bool


@dataclass(frozen=True)
class ModelFolders:
    """Every folder of every key.

    models  ComfyUI's models folder
    extra   what extra_model_paths.yaml adds, in its order
    """

    models: Path
    extra: tuple[ExtraFolder, ...] = ()

    def of(self, key: str) -> list[Path]:
        """All folders of a key, the one that new files go into first."""
        own = [self.models / name for name in _OWN.get(key, (key,))]
        mine = [folder for folder in self.extra if folder.key == key]
        # ComfyUI puts each default before all others, so the last one named ends up first.
        first = [folder.path for folder in reversed(mine) if folder.is_default]
        return [*first, *own, *(folder.path for folder in mine if not folder.is_default)]

    def existing(self, key: str, name: str) -> Path | None:
        """The file of this name in any folder of the key."""
        return next((folder / name for folder in self.of(key) if (folder / name).exists()), None)


def read_extra_folders(file: Path) -> tuple[ExtraFolder, ...]:
    """The folders of an extra_model_paths.yaml. Raises ValueError where it is not such a file."""
    try:
        sections = yaml.safe_load(file.read_text(encoding="utf-8-sig")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read as YAML: {error}") from error
    if not isinstance(sections, Mapping) or not all(isinstance(each, Mapping | None) for each in sections.values()):
        raise ValueError(f"{file} is not in the form of {EXTRA_PATHS}: expected sections with keys and folders.")
    return tuple(folder for section in sections.values() if section for folder in _section(section, file.parent))


def find_comfyui(here: Path) -> Path | None:
    """ComfyUI's folder, where this pack lies in its custom_nodes."""
    return next((place.parent for place in here.parents if place.name == "custom_nodes"), None)


def _section(section: Mapping[str, Any], beside: Path) -> list[ExtraFolder]:
    base = Path(os.path.expandvars(os.path.expanduser(str(section.get("base_path") or "."))))
    is_default = bool(section.get("is_default", False))
    return [
        ExtraFolder(_OLD_KEYS.get(key, key), Path(os.path.normpath(beside.absolute() / base / line)), is_default)
        for key, lines in section.items()
        if key not in _SETTINGS
        for line in str(lines or "").split("\n")
        if line
    ]
