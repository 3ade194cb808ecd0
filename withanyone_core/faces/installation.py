"""What this Python lacks to analyse faces, and the command that adds it and changes nothing that is there.

insightface's own requirements name onnxruntime and opencv-python. Both come in several builds that own the same
modules: beside onnxruntime-gpu, or a headless or contrib OpenCV, pip lays the plain build over the one that works. So
insightface is added alone, and then only those modules that nothing provides.
"""

from importlib import metadata
from importlib.util import find_spec

FACE_LIBRARY = "insightface"
# What insightface's detector and recognizer import (0.7.3 to 2.1): module, and the package for who has none of it.
NEEDED = {
    "onnxruntime": "onnxruntime",
    "cv2": "opencv-python-headless",
    "onnx": "onnx",
    "skimage": "scikit-image",
    "scipy": "scipy",
    "tqdm": "tqdm",
    "requests": "requests",
}
# insightface below 1.0 imports these too, whatever one needs of it.
NEEDED_BEFORE_1 = {"matplotlib": "matplotlib", "albumentations": "albumentations"}
_PIP = "python -m pip install"


def missing_packages() -> list[str]:
    """Packages to install, those of which no build is there; insightface first."""
    needed = {FACE_LIBRARY: FACE_LIBRARY, **NEEDED}
    if (installed := _version(FACE_LIBRARY)) and installed.startswith("0."):
        needed |= NEEDED_BEFORE_1
    return [package for module, package in needed.items() if find_spec(module) is None]


def install_command() -> str:
    """The command line that adds what is missing; empty where nothing is."""
    missing = missing_packages()
    steps = []
    if FACE_LIBRARY in missing:
        steps.append(f"{_PIP} --no-deps {FACE_LIBRARY}")
        missing.remove(FACE_LIBRARY)
    if missing:
        # The newest OpenCV would bring another NumPy, which other packs may not stand.
        steps.append(f"{_PIP} {' '.join(missing)} numpy=={metadata.version('numpy')}")
    return " && ".join(steps)


def how_to_install() -> str:
    """A sentence for error messages; empty where nothing is missing."""
    command = install_command()
    if not command:
        return ""
    return f"Run `{command}` with the Python that runs ComfyUI, then restart ComfyUI."


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
