"""A face pack small enough to be made in a test: a detector of coloured squares and a recognizer that shows its input.

Both have the inputs and outputs of antelopev2's files, so insightface's own model zoo loads and runs them.

The detector reads red at stride 8 and green at stride 16: in an image as large as the detection size, an 8-pixel cell
whose red is above its blue and green is a face of 32 pixels at that score, a green 16-pixel cell one of 64 pixels. The
box begins one cell left of and above the painted cell. The landmarks are ArcFace's template fitted into the box.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TEMPLATE_PX = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
STRIDES = (8, 16, 32)
BOX_SIDE = 4  # in cells
SHOWN = np.linspace(0, 3 * 112 * 112 - 1, 512).astype(np.int64)
DETECTOR, RECOGNIZER = "scrfd_10g_bnkps.onnx", "glintr100.onnx"


def write_pack(folder: Path, detector: bool = True, recognizer: bool = True, width: int = 512) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if detector:
        onnx.save(small_detector(), folder / DETECTOR)
    if recognizer:
        onnx.save(small_recognizer(width), folder / RECOGNIZER)
    return folder


def small_detector() -> onnx.ModelProto:
    nodes, constants, outputs = [], [], {"score": [], "box": [], "points": []}
    opposed = {8: (1.0, -1.0, -1.0), 16: (-1.0, 1.0, -1.0), 32: (0.0, 0.0, 0.0)}
    points = (-1 + BOX_SIDE * TEMPLATE_PX / 112).reshape(-1)
    far = BOX_SIDE - 1
    for stride in STRIDES:
        pool = f"pool{stride}"
        nodes.append(
            helper.make_node("AveragePool", ["input"], [pool], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        colour = np.zeros((2, 3, 1, 1))
        colour[0, :, 0, 0] = opposed[stride]
        # The input is (level - 127.5) / 128; the score is to be red - green - blue in 0..1, or the other way round.
        heads = {
            "score": (colour * 128 / 255, [_zero_level(opposed[stride]), -9.0], 1),
            "box": (np.zeros((8, 3, 1, 1)), [1, 1, far, far] * 2, 4),
            "points": (np.zeros((20, 3, 1, 1)), [*points, *points], 10),
        }
        for head, (weight, offset, numbers) in heads.items():
            name = f"{head}{stride}"
            constants += [_constant(f"{name}_w", weight), _constant(f"{name}_b", offset)]
            constants.append(_constant(f"{name}_shape", [-1, numbers], np.int64))
            nodes += [
                helper.make_node("Conv", [pool, f"{name}_w", f"{name}_b"], [f"{name}_conv"]),
                helper.make_node("Transpose", [f"{name}_conv"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"{name}_shape"], [name]),
            ]
            outputs[head].append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["cells", numbers]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])
    return _model(nodes, [image], [*outputs["score"], *outputs["box"], *outputs["points"]], constants)


def small_recognizer(width: int = 512) -> onnx.ModelProto:
    """Its embedding is `width` numbers of its own input, those at the places SHOWN of the flattened [3, 112, 112]."""
    constants = [_constant("flat", [1, -1], np.int64), _constant("shown", SHOWN[:width], np.int64)]
    nodes = [
        helper.make_node("Reshape", ["crop", "flat"], ["numbers"]),
        helper.make_node("Gather", ["numbers", "shown"], ["vector"], axis=1),
    ]
    crop = helper.make_tensor_value_info("crop", TensorProto.FLOAT, [1, 3, 112, 112])
    return _model(nodes, [crop], [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, width])], constants)


def photo_with(cells: dict[tuple[int, int], tuple[int, int, int]], side_px: int = 160) -> np.ndarray:
    """A dark RGB photo with a coloured cell at each (column, row) of 8 pixels; green cells are 16 pixels large."""
    photo = np.zeros((side_px, side_px, 3), np.uint8)
    photo[..., 2] = np.arange(side_px, dtype=np.uint8) // 4  # a gradient in blue, so that crops differ by place
    for (column, row), colour in cells.items():
        size = 16 if colour[1] > colour[0] else 8
        photo[row * 8 : row * 8 + size, column * 8 : column * 8 + size] = colour
    return photo


def _zero_level(signs: tuple[float, float, float]) -> float:
    """What lifts sum(sign * (level - 127.5) / 255) to sum(sign * level / 255)."""
    return 0.5 * sum(signs) if any(signs) else -9.0


def _constant(name: str, values: object, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def _model(nodes: list, inputs: list, outputs: list, constants: list) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
