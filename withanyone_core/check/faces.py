"""insightface's files: a pack's folder, and single ONNX graphs."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..faces.analysis import EMBEDDING_SIZE, graph_task, onnx_folder
from ..file_kinds.kinds import NOT_NEEDED, Json, Kind

if TYPE_CHECKING:
    from onnx import ValueInfoProto

_FITS = "Load Face Analysis (a pack's folder under models/insightface/models)"
_NO_ONNX = "ONNX file, not examined: the Python package onnx is not installed (insightface brings it)"


def is_pack(folder: Path) -> bool:
    """Whether ONNX files lie in the folder, or one folder deeper, where insightface's zip leaves them."""
    return any(next(place.glob("*.onnx"), None) for place in (folder, folder / folder.name))


def recognize_pack(folder: Path) -> tuple[Kind, dict[Path, Kind]]:
    """The pack, and each of its files."""
    place = onnx_folder(folder)
    kinds = {file: recognize_onnx(file) for file in sorted(place.glob("*.onnx"))}
    tasks = {file.name: str(kind.facts["task"]) for file, kind in kinds.items()}
    faults = [f"{file.name}: {fault}" for file, kind in kinds.items() for fault in kind.faults]
    lacking = [task for task in ("detector", "recognizer") if task not in tasks.values()]
    if lacking and "unknown" not in tasks.values():
        faults.append(f"The pack has no {' and no '.join(lacking)}; fetch antelopev2 again.")
    facts: dict[str, Json] = {"files": tasks, "one folder too deep": place != folder}
    return Kind("insightface face pack", _FITS, facts, tuple(faults)), kinds


def recognize_onnx(file: Path) -> Kind:
    try:
        import onnx
    except ModuleNotFoundError:
        return Kind(_NO_ONNX, "unknown", {"task": "unknown"})
    try:
        task = graph_task(file)
    except ValueError as error:
        return Kind("ONNX file, damaged", "nothing as it is", {"task": "damaged"}, (str(error),))
    graph = onnx.load(file, load_external_data=False).graph
    facts: dict[str, Json] = {
        "task": task,
        "inputs": {value.name: _shape(value) for value in graph.input},
        "outputs": {value.name: _shape(value) for value in graph.output},
    }
    if task == "detector":
        return Kind("ONNX face detector with landmarks", _FITS, facts)
    if task == "recognizer":
        return Kind("ONNX face recognizer", _recognizer_fits(graph.output[0]), facts)
    return Kind("ONNX graph, neither face detector nor recognizer", NOT_NEEDED, facts)


def _recognizer_fits(output: "ValueInfoProto") -> str:
    size = _shape(output)[-1:]
    if size not in (["?"], [EMBEDDING_SIZE], []):
        return f"not the released adapters: it gives {size[0]} numbers per face, they read {EMBEDDING_SIZE}"
    return f"{_FITS}; the released adapters were trained with antelopev2's glintr100 and no other"


def _shape(value: "ValueInfoProto") -> list[Json]:
    return [side.dim_value or side.dim_param or "?" for side in value.type.tensor_type.shape.dim]
