"""The recognizer in torch against onnxruntime, on random iResNets: the published ones may not be passed on."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from withanyone_pack.tests.training.rooms import add_training
from withanyone_pack.tests.training.small_iresnet import export, iresnet

add_training()
from training.losses.arcface import Recognizer


def crops(faces=3):
    return torch.randint(0, 256, (faces, 3, 112, 112), generator=torch.Generator().manual_seed(4)).float()


def by_onnxruntime(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = (images.numpy() - 127.5) / 127.5
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: values})[0])


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(("units", "widths"), [((2, 1), (8, 16)), ((1, 3, 2), (4, 8, 12))])
def test_embeddings_are_those_of_onnxruntime(tmp_path, folded, units, widths):
    path = export(iresnet(units, widths), tmp_path / "small.onnx", training=not folded)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert {"Conv", "PRelu", "BatchNormalization", "Add", "Flatten", "Gemm"} <= operators
    recognizer = Recognizer.load(path)
    expected = by_onnxruntime(path, crops())
    assert (recognizer(crops()) - expected).abs().max() <= 1e-4 * max(1.0, expected.abs().max().item())


def test_gradients_are_those_of_the_network(tmp_path):
    model = iresnet()
    recognizer = Recognizer.load(export(model, tmp_path / "small.onnx"))
    ours, theirs = crops().requires_grad_(), crops().requires_grad_()
    weight = torch.randn(24, generator=torch.Generator().manual_seed(1))
    (recognizer(ours) @ weight).sum().backward()
    (model((theirs - 127.5) / 127.5) @ weight).sum().backward()
    assert (ours.grad - theirs.grad).abs().max() <= 1e-4 * theirs.grad.abs().max()


def test_it_is_frozen_and_stays_in_float32(tmp_path):
    recognizer = Recognizer.load(export(iresnet(), tmp_path / "small.onnx"))
    assert not list(recognizer.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        found = recognizer(crops().bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, recognizer(crops().bfloat16().float()))


def one_node(path, *nodes, shape=(1, 3, 112, 112)):
    entry = helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info(nodes[-1].output[0], onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "graph", [entry], [result])
    onnx.save(helper.make_model(graph), path)
    return path


def test_unknown_operators_are_all_named(tmp_path):
    path = one_node(
        tmp_path / "vit.onnx",
        helper.make_node("Softmax", ["data"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Erf", ["b"], ["c"]),
    )
    with pytest.raises(ValueError, match=r"vit\.onnx uses Erf, Softmax, which the identity loss cannot follow"):
        Recognizer.load(path)


def test_unknown_settings_are_named(tmp_path):
    path = one_node(tmp_path / "odd.onnx", helper.make_node("Flatten", ["data"], ["a"], axis=2))
    with pytest.raises(ValueError, match=r"odd\.onnx uses Flatten with axis=2"):
        Recognizer.load(path)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recognizer .*gone\.onnx"):
        Recognizer.load(tmp_path / "gone.onnx")
    (tmp_path / "page.onnx").write_bytes(b"<!DOCTYPE html><html>log in</html>")
    with pytest.raises(ValueError, match=r"page\.onnx is not an ONNX file \(web page\)"):
        Recognizer.load(tmp_path / "page.onnx")
    (tmp_path / "cut.onnx").write_bytes(export(iresnet(), tmp_path / "small.onnx").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut\.onnx is not a whole ONNX file"):
        Recognizer.load(tmp_path / "cut.onnx")


def test_pixels_that_the_graph_scales_itself_are_not_scaled_twice(tmp_path):
    """insightface tells such recognizers by a subtraction and a multiplication among the first nodes."""
    constants = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value]))
        for name, value in (("mean", 127.5), ("scale", 1 / 128))
    ]
    path = one_node(
        tmp_path / "scaled.onnx",
        *constants,
        helper.make_node("Sub", ["data", "mean"], ["a"]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
    )
    expected = ((crops(1) - 127.5) / 128).flatten(1)
    assert np.allclose(Recognizer.load(path)(crops(1)), expected, atol=1e-5)
