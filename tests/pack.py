"""Loads the pack the way ComfyUI does: by path, under a name of its own, with the repository's root off sys.path."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import torch

ROOT = Path(__file__).resolve().parents[1]
TESTBED = Path(os.environ.get("WITHANYONE_TESTBED", ROOT / ".testbed"))
COMFYUI = TESTBED / "comfyui"
PACK = "withanyone_pack"
_kept_alive: list[torch.library.Library] = []


def load_pack() -> ModuleType:
    """Registers the repository as the package `withanyone_pack`; its rooms are then its submodules.

    The package object is made without running the root `__init__.py`, so that tests of the core need no ComfyUI.
    """
    if PACK not in sys.modules:
        spec = importlib.util.spec_from_loader(PACK, loader=None, is_package=True)
        spec.submodule_search_locations = [str(ROOT)]
        sys.modules[PACK] = importlib.util.module_from_spec(spec)
    return sys.modules[PACK]


def define_torchvision_operators() -> torch.library.Library:
    """Declares the two C++ operators that a torchvision made for CUDA lacks beside a CPU torch.

    Without them `import torchvision` stops, and ComfyUI with it. Keep the returned library alive.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def make_torchvision_importable() -> None:
    """For ComfyUI, and for transformers, which diffusers and peft import."""
    if torch.version.cuda is None and not _kept_alive:
        _kept_alive.append(define_torchvision_operators())


def add_comfyui() -> None:
    """Makes ComfyUI's own modules importable, on the CPU unless a CUDA device exists, and parses no command line."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    if str(COMFYUI) not in sys.path:
        sys.path.insert(0, str(COMFYUI))
    make_torchvision_importable()
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
