"""`python -m withanyone_core.check FILE_OR_FOLDER...`"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..command import run_command
from ..file_kinds.kinds import Json
from .files import Finding, examine

_LONGEST = 200  # characters of a value in the text; --json has all of it


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every file is a sound known one, 1 otherwise."""
    return run_command("check", _parser(), _run, arguments, lambda choices: not choices.paths)


def _run(choices: argparse.Namespace) -> int:
    findings = []
    for path in choices.paths:
        for finding in examine(path, hashes=not choices.no_hash, values=choices.values):
            findings.append(finding)
            if not choices.json:
                _write("\n".join(_lines(finding)) + "\n")
    if choices.json:
        _write(json.dumps([_json(finding) for finding in findings], indent=1, ensure_ascii=False))
    return 0 if all(finding.is_sound for finding in findings) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m withanyone_core.check",
        description="Says of model files what they are, whether they are whole, and what they fit with. "
        "Pickles are named, never opened. The exit status is 0 if every file is a sound known one, 1 otherwise.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--json", action="store_true", help="write one JSON list, for programs")
    parser.add_argument("--values", action="store_true", help="read every tensor and count NaN and infinite values")
    parser.add_argument("--no-hash", action="store_true", help="leave out the SHA-256, which reads the whole file")
    return parser


def _lines(finding: Finding) -> Iterator[str]:
    yield str(finding.path)
    for name, value in _table(finding):
        yield f"  {name:<21} {value}"
    for fault in finding.kind.faults:
        yield f"  {'WRONG':<21} {fault}"


def _table(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "is", finding.kind.name
    yield "fits with", finding.kind.fits
    if finding.published:
        yield "published as", finding.published
    for name, value in finding.kind.facts.items():
        yield name, _text(value)
    if finding.header.tensors:
        yield "tensors", ", ".join(f"{count} {dtype}" for dtype, count in finding.header.dtypes.items())
        yield "parameters", f"{finding.header.parameters:,}"
    if finding.size is not None:
        yield "size", f"{finding.size:,} bytes"
    if finding.sha256:
        yield "sha256", finding.sha256
    for name, value in finding.header.metadata.items():
        yield "header", _short(f"{name}: {value}")


def _text(value: Json) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return _short(", ".join(str(each) for each in value) or "none")
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _json(finding: Finding) -> dict[str, Json]:
    return {
        "path": str(finding.path),
        "is": finding.kind.name,
        "fits": finding.kind.fits,
        "sound": finding.is_sound,
        "wrong": list(finding.kind.faults),
        "published": finding.published,
        "facts": dict(finding.kind.facts),
        "tensors": len(finding.header.tensors),
        "dtypes": finding.header.dtypes,
        "parameters": finding.header.parameters,
        "size": finding.size,
        "sha256": finding.sha256,
        "header": dict(finding.header.metadata),
    }


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
