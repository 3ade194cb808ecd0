"""A face recognizer with gradients: the graph of its ONNX file, node by node, in torch.

Made for ArcFace's iResNets of any depth and width, whether their batch norms are folded into convolutions or not
(glintr100, w600k_r50 and their like). Nothing is guessed: an operator or setting that is not listed here is refused by
name. Frozen and in float32: in bf16 the embeddings stay alike while the gradients turn away.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withanyone_core.files.first_bytes import no_onnx

Values = dict[str, Tensor]
# Tensors; None for an optional input that the graph leaves out. ONNX, not Python, says which operators have one.
Inputs = Sequence[Any]
Operator = Callable[[Inputs, Mapping[str, Any]], Tensor]
_NORMALIZING = (
    8  # insightface takes a recognizer for one that scales its pixels itself if these nodes subtract and multiply
)


@dataclass(frozen=True)
class _Node:
    """One operator: its name, the values it reads and writes, and its settings."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    settings: Mapping[str, Any]


class Recognizer(nn.Module):
    """Upright crops [F, 3, 112, 112] RGB from 0 to 255 to raw face embeddings [F, E], float32."""

    def __init__(self, nodes: Sequence[_Node], weights: Mapping[str, Tensor], entry: str, name: str) -> None:
        super().__init__()
        self.name = name
        self._nodes = tuple(nodes)
        self._entry = entry
        # Values of a graph have dots and slashes in their names, which register_buffer refuses.
        self._slots = {key: f"weight_{place}" for place, key in enumerate(weights)}
        # Buffers: they move with the module, while no optimizer finds them and no gradient is kept for them.
        for key, value in weights.items():
            self.register_buffer(self._slots[key], value)
        first = {node.operator for node in nodes[:_NORMALIZING]}
        self._mean, self._spread = (0.0, 1.0) if {"Sub", "Mul"} <= first else (127.5, 127.5)

    @classmethod
    def load(cls, path: Path) -> "Recognizer":
        """Reads an .onnx file.

        Raises FileNotFoundError, or ValueError naming every operator and setting that has no differentiable twin here.
        """
        import onnx
        from google.protobuf.message import DecodeError

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no recognizer {path}.")
        try:
            graph = onnx.load(path).graph
        except DecodeError as error:
            if reason := no_onnx(path):
                raise ValueError(f"{path.name} {reason}") from error
            raise ValueError(f"{path.name} is not a whole ONNX file: {error}") from error
        return _read(graph, path.name)

    def forward(self, crops_F3HW: Tensor) -> Tensor:
        # The training step's autocast would run the convolutions in bf16.
        with torch.autocast(crops_F3HW.device.type, enabled=False):
            values: Values = {self._entry: (crops_F3HW.float() - self._mean) / self._spread}
            for node in self._nodes:
                inputs = [self._value(name, values) for name in node.inputs]
                values[node.output] = _OPERATORS[node.operator](inputs, node.settings)
            return values[self._nodes[-1].output]

    def _value(self, name: str, values: Values) -> Tensor | None:
        # ONNX writes an optional input that is left out as an empty name.
        if name == "":
            return None
        return getattr(self, self._slots[name]) if name in self._slots else values[name]


def _read(graph: Any, name: str) -> Recognizer:
    from onnx import helper, numpy_helper

    weights = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    nodes = []
    for node in graph.node:
        settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        # A constant is a weight too: it moves to the device with the module.
        if node.op_type == "Constant":
            weights[node.output[0]] = torch.from_numpy(numpy_helper.to_array(settings["value"]).copy())
        else:
            nodes.append(_Node(node.op_type, tuple(node.input), node.output[0], settings))
    entries = [each.name for each in graph.input if each.name not in weights]
    _check(name, nodes, entries, [each.name for each in graph.output])
    # In float32 whatever the file holds; integers are shapes and axes.
    float_weights = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    return Recognizer(nodes, float_weights, entries[0], name).train(False)


def _check(name: str, nodes: Sequence[_Node], entries: Sequence[str], results: Sequence[str]) -> None:
    unknown = sorted({node.operator for node in nodes if node.operator not in _OPERATORS})
    if unknown:
        raise ValueError(
            f"{name} uses {', '.join(unknown)}, which the identity loss cannot follow. Expected an ArcFace iResNet "
            f"({', '.join(sorted(_OPERATORS))}), such as glintr100.onnx of antelopev2."
        )
    odd = sorted({fault for node in nodes for fault in _odd_settings(node)})
    if odd:
        raise ValueError(f"{name} uses {', '.join(odd)}, which the identity loss cannot follow.")
    if len(entries) != 1 or len(results) != 1 or not nodes or nodes[-1].output != results[0]:
        raise ValueError(f"{name} is no recognizer: expected one image in and one embedding out at its end.")


def _odd_settings(node: _Node) -> list[str]:
    expected = _EXPECTED.get(node.operator, {})
    return [
        f"{node.operator} with {key}={node.settings[key]!r}"
        for key, allowed in expected.items()
        if key in node.settings and node.settings[key] not in allowed
    ]


_EXPECTED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Conv": {"auto_pad": (b"NOTSET",)},
    "BatchNormalization": {"training_mode": (0,), "spatial": (1,)},
    "Gemm": {"transA": (0,)},
    # 1 is ONNX's number of float32.
    "Cast": {"to": (1,)},
    "Flatten": {"axis": (1,)},
    "Reshape": {"allowzero": (0,)},
}


def _conv(inputs: Inputs, settings: Mapping[str, Any]) -> Tensor:
    image, weight, *rest = inputs
    bias = rest[0] if rest else None
    before, after = _pads(settings)
    # conv2d pads both ends of a dimension alike, ONNX need not; F.pad takes the last dimension first.
    if before != after:
        image = F.pad(image, (before[1], after[1], before[0], after[0]))
        before = (0, 0)
    stride, dilation = (tuple(settings.get(key, (1, 1))) for key in ("strides", "dilations"))
    return F.conv2d(image, weight, bias, stride, before, dilation, settings.get("group", 1))


def _pads(settings: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    # ONNX lists the starts of all dimensions, then their ends.
    top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
    return (top, left), (bottom, right)


def _batch_norm(inputs: Inputs, settings: Mapping[str, Any]) -> Tensor:
    values, scale, shift, mean, variance = inputs
    return F.batch_norm(values, mean, variance, scale, shift, eps=settings.get("epsilon", 1e-5))


def _prelu(inputs: Inputs, settings: Mapping[str, Any]) -> Tensor:
    values, slope = inputs
    # ONNX broadcasts slopes [C, 1, 1], torch takes them as [C].
    return F.prelu(values, slope.flatten())


def _gemm(inputs: Inputs, settings: Mapping[str, Any]) -> Tensor:
    values, weight, *rest = inputs
    shift = rest[0] if rest else None
    weight = weight.T if settings.get("transB", 0) else weight
    product = settings.get("alpha", 1.0) * (values @ weight)
    return product if shift is None else product + settings.get("beta", 1.0) * shift


def _reshape(inputs: Inputs, settings: Mapping[str, Any]) -> Tensor:
    values, shape = inputs
    # In ONNX a size of 0 keeps that of the input.
    sizes = [values.shape[place] if size == 0 else size for place, size in enumerate(shape.tolist())]
    # Exporters write the batch they traced with; it is the images' number that counts.
    return values.reshape(values.shape[0], *sizes[1:])


def _unsqueeze(inputs: Inputs, settings: Mapping[str, Any]) -> Tensor:
    values, *rest = inputs
    axes = rest[0] if rest else None
    for axis in sorted(settings["axes"] if axes is None else axes.tolist()):
        values = values.unsqueeze(axis)
    return values


_OPERATORS: Mapping[str, Operator] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "PRelu": _prelu,
    "Relu": lambda inputs, _: F.relu(inputs[0]),
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Div": lambda inputs, _: inputs[0] / inputs[1],
    "Flatten": lambda inputs, _: inputs[0].flatten(1),
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Gemm": _gemm,
    "MatMul": lambda inputs, _: inputs[0] @ inputs[1],
    "Cast": lambda inputs, _: inputs[0],  # weights stored in half precision; they are float32 here already
    "Dropout": lambda inputs, _: inputs[0],
    "Identity": lambda inputs, _: inputs[0],
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean((2, 3), keepdim=True),
}
