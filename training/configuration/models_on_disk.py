"""The models that training needs, found in ComfyUI's folders by what the files contain, whatever they are called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from withanyone_core.check.adapters import recognize_adapter
from withanyone_core.check.faces import is_pack, recognize_pack
from withanyone_core.download.folders import ModelFolders
from withanyone_core.download.published import FACE_PACK, HUB_FILES, HubFile
from withanyone_core.faces.analysis import RECOGNIZER_FILE, onnx_folder
from withanyone_core.faces.dlib_analysis import DLIB, is_dlib_installed
from withanyone_core.file_kinds.header import read_safetensors
from withanyone_core.file_kinds.kinds import Kind
from withanyone_core.file_kinds.naming import recognize
from withanyone_core.metrics.judge_card import read_card, shipped_cards

_UNTRAINABLE = ("Nunchaku", "bitsandbytes", "NVFP4")  # training reads plain, fp8 and scaled fp8 matrices
# What ComfyUI ships beside its own code; the same files as those of black-forest-labs/FLUX.1-dev.
_T5_TOKENIZER, _CLIP_TOKENIZER = Path("comfy/text_encoders/t5_tokenizer"), Path("comfy/sd1_tokenizer")


@dataclass(frozen=True)
class Role:
    """A kind of model file that training reads.

    published  its name in `published.HUB_FILES`, which says where it comes from and under which licence
    kind       how the name of its Kind begins
    small      how that of the same model at another size begins, which only goes with a base model of another size
    required   whether nothing can be trained without it
    """

    published: str
    kind: str
    small: str
    required: bool = True

    @property
    def source(self) -> HubFile:
        return next(file for file in HUB_FILES if file.name == self.published)


BASE = Role("flux-dev", "FLUX.1-dev", "Flux of another size")
VAE = Role("vae", "VAE with 16 channels", "VAE of another model")
T5 = Role("t5xxl", "T5-XXL text encoder", "T5 text encoder of another size")
CLIP = Role("clip-l", "CLIP-L text encoder", "CLIP text encoder of another size")
SIGLIP = Role("siglip", "SigLIP base for 256 pixels", "small SigLIP vision tower", required=False)
ADAPTER = Role("withanyone", "WithAnyone adapter", "WithAnyone adapter")
ROLES = (BASE, VAE, T5, CLIP, SIGLIP, ADAPTER)


@dataclass(frozen=True)
class ModelsOnDisk:
    """What was found.

    files            the file chosen for each role
    others           further files that would have fitted, by role
    face_pack        folder of the face pack, and the recognizer in it; None without
    judge            card or name of a recognizer that training does not use; None without
    t5_tokenizer, clip_tokenizer  ComfyUI's own folders; None where that is not ComfyUI's program folder
    """

    files: dict[Role, Path] = field(default_factory=dict)
    others: dict[Role, tuple[Path, ...]] = field(default_factory=dict)
    face_pack: Path | None = None
    recognizer: Path | None = None
    judge: Path | None = None
    t5_tokenizer: Path | None = None
    clip_tokenizer: Path | None = None

    @property
    def missing(self) -> tuple[Role, ...]:
        return tuple(role for role in ROLES if role not in self.files)

    @property
    def is_complete(self) -> bool:
        """Whether a run can be configured."""
        parts = (self.face_pack, self.recognizer, self.t5_tokenizer, self.clip_tokenizer)
        return not any(role.required for role in self.missing) and None not in parts


def find_models(comfyui: Path, folders: ModelFolders) -> ModelsOnDisk:
    """Looks through ComfyUI's model folders, reading headers only.

    comfyui  ComfyUI's program folder, whose tokenizers are used
    folders  where its models are
    """
    files, others = {}, {}
    is_small = False
    for role in ROLES:
        fitting = _fitting(role, folders, is_small or role is BASE)
        if fitting:
            files[role], *rest = fitting
            others[role] = tuple(rest)
        if role is BASE:
            is_small = bool(fitting) and _begins(fitting[0], BASE.small)
    pack, recognizer = _face_pack(folders)
    return ModelsOnDisk(
        files,
        others,
        pack,
        recognizer,
        _judge(folders),
        _folder(comfyui / _T5_TOKENIZER),
        _folder(comfyui / _CLIP_TOKENIZER),
    )


def _fitting(role: Role, folders: ModelFolders, with_small: bool) -> list[Path]:
    """Every file for a role, the one to take first: the published name, then real size, then no Kontext, by name."""
    found = []
    for path in _weights(folders.of(role.source.folder)):
        kind = _kind(path)
        if kind is None or kind.faults or any(word in str(kind.facts.get("stored as")) for word in _UNTRAINABLE):
            continue
        is_right, is_small = kind.name.startswith(role.kind), kind.name.startswith(role.small)
        if is_right or (with_small and is_small):
            name = path.name.lower()
            found.append((not is_right, name != _published_name(role), "kontext" in name, name, path))
    return [path for *_, path in sorted(found)]


def _published_name(role: Role) -> str:
    target = role.source.target or role.source.path
    return Path(target).name if isinstance(target, str) else ""


def _weights(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from (path for path in sorted(folder.rglob("*")) if path.suffix in (".safetensors", ".sft"))


def _kind(path: Path) -> Kind | None:
    """None for a file that is not whole or of no known kind."""
    try:
        header = read_safetensors(path)
    except (ValueError, OSError):
        return None
    return recognize_adapter(header, path) or recognize(header)


def _begins(path: Path, name: str) -> bool:
    kind = _kind(path)
    return kind is not None and kind.name.startswith(name)


def _face_packs(folders: ModelFolders) -> list[Path]:
    """Folders of ONNX files under insightface's; the pack that the released adapter was trained with comes first."""
    places = [folder / "models" for folder in folders.of("insightface")]
    packs = [pack for place in places if place.is_dir() for pack in sorted(place.iterdir()) if pack.is_dir()]
    return sorted((pack for pack in packs if is_pack(pack)), key=lambda pack: pack.name != FACE_PACK)


def _face_pack(folders: ModelFolders) -> tuple[Path | None, Path | None]:
    """The first pack with a detector and the adapter's own recognizer, and that recognizer's file."""
    for pack in _face_packs(folders):
        recognizer = onnx_folder(pack) / RECOGNIZER_FILE
        if recognizer.is_file() and "detector" in _tasks(pack):
            return pack, recognizer
    return None, None


def _tasks(pack: Path) -> list[str]:
    kind, _ = recognize_pack(pack)
    files = kind.facts["files"]
    return [str(task) for task in files.values()] if isinstance(files, dict) else []


def _judge(folders: ModelFolders) -> Path | None:
    """A recognizer with a shipped card that no training has used, else dlib's where pip has installed it."""
    cards = [read_card(path) for path in shipped_cards().values()]
    known = {Path(card.onnx).name for card in cards if not card.trained_with}
    for pack in _face_packs(folders):
        found = sorted(path for path in onnx_folder(pack).glob("*.onnx") if path.name in known)
        if found:
            return found[0]
    return Path(DLIB) if is_dlib_installed() else None


def _folder(path: Path) -> Path | None:
    return path if path.is_dir() else None
