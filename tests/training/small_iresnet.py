"""An iResNet as ArcFace's, of any depth and width, and its ONNX file."""

import io

import onnx
import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self, entered, left, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(entered, eps=1e-5),
            nn.Conv2d(entered, left, 3, 1, 1, bias=False),
            nn.BatchNorm2d(left),
            nn.PReLU(left),
            nn.Conv2d(left, left, 3, stride, 1, bias=False),
            nn.BatchNorm2d(left),
        )
        same = entered == left and stride == 1
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(entered, left, 1, stride, bias=False), nn.BatchNorm2d(left))
        )

    def forward(self, x):
        return self.body(x) + self.skip(x)


def iresnet(units=(2, 1), widths=(8, 16), embedding=24, seed=0):
    """Random, with norms that saw data, for images of 112 x 112 pixels."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])]
    entered, side = widths[0], 112
    for count, width in zip(units, widths, strict=True):
        side //= 2
        for index in range(count):
            layers.append(Unit(entered, width, 2 if index == 0 else 1))
            entered = width
    layers += [nn.BatchNorm2d(entered), nn.Dropout(0.0), nn.Flatten(), nn.Linear(entered * side * side, embedding)]
    layers.append(nn.BatchNorm1d(embedding))
    model = nn.Sequential(*layers)
    with torch.no_grad():
        model.train()
        model(torch.rand(8, 3, 112, 112) * 2 - 1)
    return model.eval()


def export(model, path, training=False):
    """By torch's own exporter, with norms folded into convolutions, as the published recognizers are; or not folded."""
    stream = io.BytesIO()
    mode = torch.onnx.TrainingMode.PRESERVE if training else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(
        model,
        torch.zeros(1, 3, 112, 112),
        stream,
        dynamo=False,
        training=mode,
        do_constant_folding=not training,
        input_names=["data"],
        output_names=["vector"],
        dynamic_axes={"data": {0: "faces"}, "vector": {0: "faces"}},
    )
    onnx.save(onnx.load_from_string(stream.getvalue()), path)
    return path
