"""A recognizer small enough for a test, which shows its input, and its card."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ARCFACE = {"name": "small", "onnx": "small.onnx", "size_px": 112, "colours": "rgb", "mean": 127.5, "std": 127.5}


def write_judge(
    folder: Path,
    size_px: int = 112,
    batch: int | str = "batch",
    nhwc: bool = False,
    half: bool = False,
    opaque: bool = False,
    outputs: tuple[str, ...] = ("vector",),
    **card: object,
) -> Path:
    """Writes small.onnx and small.json and returns the card.

    The embedding is the first row of the first channel, then of the second and third, of what the network is given: the
    left half of the row only. `opaque` hides the embedding's length; `half` takes float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    sides = ["height", "width"] if opaque else [size_px, size_px]  # onnxruntime works out the length from fixed sides
    shape = [batch, *sides, 3] if nhwc else [batch, 3, *sides]
    axes = [1, 2] if nhwc else [2, 3]
    constants = [
        numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        for name, values in {"starts": [0, 0], "ends": [1, size_px // 2], "axes": axes, "flat": [0, -1]}.items()
    ]
    nodes = [helper.make_node("Slice", ["crop", "starts", "ends", "axes"], ["row"])]
    if nhwc:
        nodes.append(helper.make_node("Transpose", ["row"], ["turned"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Reshape", ["turned" if nhwc else "row", "flat"], [outputs[-1]]))
    nodes += [helper.make_node("ReduceMax", ["row"], [name], axes=[1, 2, 3]) for name in outputs[:-1]]
    width = "length" if opaque else 3 * (size_px // 2)
    made = [helper.make_tensor_value_info(name, number, [batch, 1, 1, 1]) for name in outputs[:-1]]
    made.append(helper.make_tensor_value_info(outputs[-1], number, [batch, width]))
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("crop", number, shape)], made, initializer=constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "small.onnx")
    path = folder / "small.json"
    path.write_text(json.dumps({**ARCFACE, "size_px": size_px, **card}))
    return path
