"""The cases of an evaluation: a folder in MultiID-Bench's layout, or the benchmark's published parquet."""

from pathlib import Path

from .cases import GENERATED, META, TRUTH, CaseFiles, folder_case, is_case
from .parquet import parquet_cases


def read_cases(source: Path, results: Path | None = None) -> list[CaseFiles]:
    """Every case of a folder or of the published parquet file, by name.

    results  for the parquet: the folder with the generated images, named by ID
    Raises FileNotFoundError where there are none, ValueError for options that do not fit; each says what was expected.
    """
    if source.suffix == ".parquet" or (source.is_dir() and next(source.glob("*.parquet"), None)):
        if results is None:
            raise ValueError(
                f"{source} is the published benchmark and holds no generated images. Say where they are: "
                "--results DIR, with one image a case named by its ID."
            )
        return parquet_cases(source, results)
    if results is not None:
        raise ValueError(f"--results goes with the published parquet; {source} is a folder, whose cases hold out.jpg.")
    if not source.is_dir():
        raise FileNotFoundError(f"The folder of cases {source} does not exist.")
    folders = sorted(path for path in (source, *source.rglob("*")) if path.is_dir() and is_case(path))
    if not folders:
        raise FileNotFoundError(
            f"{source} holds no case. Expected one folder a case with {GENERATED}.jpg (the generated image), "
            f"{TRUTH}.jpg (the ground truth, if there is one), ref_1.jpg, ref_2.jpg, ... (one photo a person) and "
            f"{META} with the prompt."
        )
    return [folder_case(path, path.relative_to(source).as_posix()) for path in folders]
