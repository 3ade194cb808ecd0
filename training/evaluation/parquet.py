"""The benchmark as it is published: one parquet file, its images inside, the generated ones beside it.

Columns: ID, GT, input_images, prompt, task_type, bboxes (JSON text), subset (p1, p2, p3), num_persons."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .cases import BadCase, CaseFiles, Image, boxes_of, named_image

COLUMNS = ("ID", "GT", "input_images")
OPTIONAL = ("prompt", "bboxes")
ROWS = 16  # at once: a row is about half a megabyte of images


def parquet_cases(source: Path, results: Path) -> list[CaseFiles]:
    """The cases of a parquet file, or of a folder's parquet files in order of name, in their order.

    Raises FileNotFoundError and ValueError for files that are not there or hold something else.
    """
    if not source.exists():
        raise FileNotFoundError(f"The parquet file {source} does not exist.")
    if not results.is_dir():
        raise FileNotFoundError(f"The folder of generated images {results} does not exist.")
    cases, seen = [], set()
    for row in _rows(source):
        name = str(row["ID"])
        case = _case(name, row, results)
        if name in seen:
            case = CaseFiles(f"{name} (again)", None, None, (), fault=f"the ID {name} stands in the file twice")
        seen.add(name)
        cases.append(case)
    if not cases:
        raise FileNotFoundError(f"{source} holds no rows.")
    return cases


def _case(name: str, row: Mapping[str, Any], results: Path) -> CaseFiles:
    try:
        path = named_image(results, name)
        boxes = boxes_of(row.get("bboxes"), "the column bboxes")
        truth = _image("GT", row["GT"])
        references = tuple(
            _image(f"input_images[{number}]", value) for number, value in enumerate(row["input_images"] or ())
        )
    except BadCase as error:
        return CaseFiles(name, None, None, (), fault=str(error))
    generated = Image(str(path.relative_to(results)), path) if path else None
    people = tuple(image for image in references if image is not None)
    return CaseFiles(name, generated, truth, people, str(row.get("prompt") or ""), boxes)


def _image(label: str, value: Any) -> Image | None:
    """An image in the hub's form (bytes and path in one struct) or as bare bytes."""
    encoded = value.get("bytes") if isinstance(value, Mapping) else value
    if encoded is None:
        return None
    if not isinstance(encoded, bytes):
        raise BadCase(f"{label} holds {type(encoded).__name__} instead of an encoded image")
    return Image(label, encoded=encoded)


def _rows(source: Path) -> Iterator[Mapping[str, Any]]:
    parquet = _pyarrow()
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    for path in files:
        try:
            file = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise ValueError(f"{path} cannot be read as parquet: {error}") from error
        names = file.schema_arrow.names
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}; expected those of MultiID-Bench, found {', '.join(names)}."
            )
        wanted = [name for name in (*COLUMNS, *OPTIONAL) if name in names]
        for batch in file.iter_batches(ROWS, columns=wanted):
            yield from batch.to_pylist()


def _pyarrow() -> ModuleType:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise RuntimeError("Parquet files are read with pyarrow: run `python -m pip install pyarrow`.") from error
    return parquet
