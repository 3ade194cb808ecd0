"""Networks as ONNX files: norms are kept as nodes, large tensors are stored in half precision and cast on loading."""

import os
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

OPSET = 17
SMALLEST_HALVED = 256  # numbers; norms and biases stay exact, and cost nothing
HALF = "_half"


def write_onnx(
    module: nn.Module,
    example: Tensor,
    path: Path,
    outputs: Sequence[str] = ("vector",),
    free: Mapping[int, str] | None = None,
) -> Path:
    """Writes a module in evaluation, whose one input looks like `example`.

    free  which of the input's dimensions may have any size, and what they are called; outputs keep torch's own shapes
    """
    axes = {"input": dict(free or {0: "batch"})}
    if 0 in axes["input"]:
        axes |= {name: {0: "batch"} for name in outputs}
    else:
        axes |= {name: {0: "lines"} for name in outputs}
    buffer = BytesIO()
    with warnings.catch_warnings():
        # torch's newer exporter needs a package more and gives these nets no better a graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example,),
            buffer,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    model = onnx.load_from_string(buffer.getvalue())
    _part_equals(model.graph)
    _fold_slopes(model.graph)
    _halve(model.graph)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.part")
    onnx.save(model, written)
    os.replace(written, path)
    return path


def read_weights(path: Path, module: nn.Module) -> None:
    """Puts the tensors of a file that `write_onnx` wrote of a trained module back into one of the same shape.

    Raises ValueError where the file lacks one.
    """
    stored = {
        tensor.name.removesuffix(HALF): numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer
    }
    for name, value in module.state_dict().items():
        if not value.is_floating_point():  # how many batches a norm has seen, which matters to nobody
            continue
        if name not in stored or stored[name].size != value.numel():
            raise ValueError(f"{path.name} has no {name} of {value.numel()} numbers. Train it with its recipe.")
        value.copy_(torch.from_numpy(stored[name].astype(np.float32)).view_as(value))


def _part_equals(graph: onnx.GraphProto) -> None:
    """A tensor of its own again where torch wrote equal ones once and named the others by Identity nodes."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.input[0] in tensors]:
        values = numpy_helper.to_array(tensors[node.input[0]])
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)


def _fold_slopes(graph: onnx.GraphProto) -> None:
    """PReLU's slopes [C] as [C, 1, 1], as insightface's files have them, in place of a node that shapes them."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    readers = {name: node for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "Unsqueeze" and node.input[0] in tensors]:
        tensor, reader = tensors[node.input[0]], readers[node.output[0]]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).reshape(-1, 1, 1), tensor.name))
        reader.input[list(reader.input).index(node.output[0])] = tensor.name
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in used]:
        graph.node.remove(node)


def _halve(graph: onnx.GraphProto) -> None:
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST_HALVED or values.ndim < 2:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + HALF))
        casts.append(helper.make_node("Cast", [name + HALF], [name], f"Cast_{name}", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
