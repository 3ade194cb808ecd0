"""Marks by location, and what is left out where its means are missing."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from pack import COMFYUI, ROOT, load_pack

load_pack()

TESTS = ROOT / "tests"
# ComfyUI works on a CUDA device where there is one, and these tests' adapter with it.
ON_GPU = (TESTS / "adapter", TESTS / "comfyui" / "socket")
# Imports ComfyUI's modules for the whole file, drives its server, or finds faces with the test bed's stand-in.
NEEDS_COMFYUI = re.compile(
    r"^add_comfyui\(\)|^(import|from) comfy|mark\.server\b|training\.people import .*\banalysis\b", re.MULTILINE
)
OF_THE_TESTS = re.compile(r"^from withanyone_pack\.tests\.([\w.]+) import", re.MULTILINE)
ROOMS = {"comfyui": "comfyui", "training": "training", "miniature": "training"}  # folder of tests: mark
SLOW = ("server", "browser")


@cache
def needs_comfyui(path: Path) -> bool:
    """Whether a file or folder of tests cannot even be imported, or does nothing, without a ComfyUI."""
    if path.is_dir():
        setup = path / "conftest.py"
        return path == TESTS / "comfyui" or (path != TESTS and setup.is_file() and imports_comfyui(setup))
    return imports_comfyui(path) or any(needs_comfyui(folder) for folder in path.parents if TESTS in folder.parents)


@cache
def imports_comfyui(path: Path) -> bool:
    """Whether a file of tests, or one that it imports, is of no use without a ComfyUI."""
    text = path.read_text(encoding="utf-8")
    imported = (TESTS.joinpath(*name.split(".")).with_suffix(".py") for name in OF_THE_TESTS.findall(text))
    return NEEDS_COMFYUI.search(text) is not None or any(file.is_file() and imports_comfyui(file) for file in imported)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without a ComfyUI, files that need one are left out: the fast lane of CONTRIBUTING.md."""
    if COMFYUI.is_dir() or not (collection_path.is_dir() or re.fullmatch(r"test_.*\.py", collection_path.name)):
        return None
    return needs_comfyui(collection_path) or None


def pytest_report_header() -> str | None:
    if COMFYUI.is_dir():
        return None
    count = sum(needs_comfyui(path) for path in TESTS.rglob("test_*.py"))
    return f"no ComfyUI in {COMFYUI}: {count} files of tests that need one are left out"


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in sorted(marks_of(item)):
            item.add_marker(mark)
        if item.get_closest_marker("comfyui") and not COMFYUI.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"needs a ComfyUI, and there is none in {COMFYUI}"))
        if item.get_closest_marker("needs_gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none here"))


def marks_of(item: pytest.Item) -> set[str]:
    """The marks that follow from where a test stands, and from those it has."""
    room = item.path.relative_to(TESTS).parts[0]
    marks = {ROOMS[room]} if room in ROOMS else set()
    if needs_comfyui(item.path):
        marks.add("comfyui")
    if any(item.get_closest_marker(mark) for mark in SLOW):
        marks.add("slow")
    if item.get_closest_marker("needs_gpu") or any(item.path.is_relative_to(folder) for folder in ON_GPU):
        marks.add("gpu")
    return marks
