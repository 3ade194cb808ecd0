"""Installs the pack's requirements beside what other packs have brought, in throw-away environments, and tries faces.

    python tests/environments.py [NAME...]

Without a NAME all are made, one after the other; each takes minutes and about 2 GB, and is removed afterwards. In each:
what was there is installed first, then requirements.txt, as ComfyUI-Manager does it, then what
`python -m withanyone_core.faces` asks for. Neither may change a package that was there or bring a second build of one.
At the end the tests of faces run, and every module of the core is imported.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
# What ComfyUI itself brings of what the core imports; its lowest versions and its newest.
OLD_COMFYUI = (
    *("numpy==1.26.4", "safetensors==0.4.3", "transformers==4.50.3", "huggingface_hub==0.26.0", "Pillow==10.1.0"),
    *("einops==0.6.1", "scipy==1.11.4", "tqdm==4.66.1", "PyYAML==6.0.1", "requests==2.31.0"),
)
COMFYUI = ("numpy", "safetensors", "transformers", "Pillow", "einops", "scipy", "tqdm", "PyYAML")
# insightface 0.7.3 is compiled where it is installed.
BUILD = ("cython<3.1", "setuptools<81", "wheel")
TESTS = ("tests/faces", "tests/metrics", "tests/test_project.py", "tests/regions/test_guide.py")
# Need the whole test bed, and a scipy newer than the core does.
LEFT_OUT = ("--ignore=tests/metrics/test_real_photos.py", "--ignore=tests/metrics/test_summary.py")
# Need ComfyUI; and OpenCV 4 takes positions in steps of 1/32 pixel, where the 1e-5 pixel of insightface's own rounding
# moves one value in a thousand by up to 7 levels.
WITHOUT = "not test_siglip and not torchvision and not equals_insightface"
BUILDS = ("onnxruntime", "opencv")


@dataclass(frozen=True)
class Environment:
    """What other packs have installed before this one comes.

    packages  beside torch
    alone     installed after them, without what they ask for
    """

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


ENVIRONMENTS = {
    # nothing of faces: the command has to bring everything
    "bare": Environment(COMFYUI),
    # what the oldest packs pin: insightface 0.7.3, NumPy 1, OpenCV 4 headless
    "old": Environment(
        (
            *(*OLD_COMFYUI, *BUILD, "onnx==1.15.0", "onnxruntime==1.17.3", "opencv-python-headless==4.8.1.78"),
            *("scikit-image==0.22.0", "albumentations==1.3.1", "matplotlib==3.8.4"),
        ),
        ("insightface==0.7.3",),
    ),
    # faces on the card, by packs that go without insightface
    "gpu": Environment(("numpy==1.26.4", *COMFYUI[1:], "onnxruntime-gpu", "opencv-python-headless<4.12")),
    # the first insightface that is not compiled, beside the contrib build of OpenCV 4
    "contrib": Environment(
        (*COMFYUI, "onnxruntime-gpu", "opencv-contrib-python-headless<5", "onnx", "scikit-image", "requests"),
        ("insightface==1.0",),
    ),
    # the newest of everything
    "new": Environment((*COMFYUI, "opencv-python>=5", "insightface>=2.1")),
}


def versions(python: Path) -> dict[str, str]:
    """The installed packages."""
    script = "import json; from importlib.metadata import distributions as all; "
    script += "print(json.dumps({d.name.lower(): d.version for d in all()}))"
    return json.loads(run(python, "-c", script))


def run(*command: str | Path, may_fail: bool = False) -> str:
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return done.stdout


def faults(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What an installation did to packages that were there."""
    found = [
        f"{name} {version} became {after.get(name, 'nothing')}"
        for name, version in before.items()
        if after.get(name) != version
    ]
    for kind in BUILDS:
        builds = [name for name in after if name.startswith(kind)]
        were = [name for name in before if name.startswith(kind)]
        if len(builds) > max(1, len(were)):
            found.append(f"several builds lie over each other: {', '.join(builds)}")
    return found


def install(python: Path, environment: Environment) -> None:
    run(python, *PIP, TORCH)
    run(python, *PIP, *environment.packages)
    if environment.alone:
        run(python, *PIP, "--no-deps", "--no-build-isolation", *environment.alone)


def carry_out(python: Path, command: str) -> None:
    """A command line as the pack writes it, with this environment's Python."""
    for step in command.split(" && "):
        words = step.split()
        if words[:4] != ["python", "-m", "pip", "install"]:
            raise SystemExit(f"This is no command for pip: {step}")
        run(python, *words[1:])


def attempt(name: str, folder: Path) -> list[str]:
    """Makes one environment; what went wrong in it."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    install(python, ENVIRONMENTS[name])
    before = versions(python)
    say(name, ", ".join(f"{package} {before[package]}" for package in sorted(before) if is_shown(package)))
    run(python, *PIP, "-r", "requirements.txt")
    required = versions(python)
    wrong = faults(before, required)
    say(name, f"requirements.txt added {', '.join(sorted(required.keys() - before.keys())) or 'nothing'}")
    while (answer := run(python, "-m", "withanyone_core.faces", may_fail=True).strip()).startswith("python -m pip"):
        say(name, answer)
        carry_out(python, answer)
    say(name, answer)
    wrong += faults(before, versions(python))
    run(python, *PIP, "pytest", "ruff")
    say(name, run(folder / "bin/pytest", "-q", "-k", WITHOUT, *LEFT_OUT, *TESTS).strip().splitlines()[-1])
    return wrong


def say(name: str, words: str) -> None:
    print(f"{name}: {words}", flush=True)


def is_shown(package: str) -> bool:
    return package in ("numpy", "insightface", "torch") or package.startswith(BUILDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*ENVIRONMENTS, []], metavar="NAME", help=", ".join(ENVIRONMENTS))
    wrong = []
    for name in parser.parse_args().names or ENVIRONMENTS:
        with tempfile.TemporaryDirectory(prefix=f"withanyone_{name}_") as folder:
            wrong += [f"{name}: {fault}" for fault in attempt(name, Path(folder))]
    print(*wrong or ["Nothing that was there was changed."], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
