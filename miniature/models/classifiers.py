"""Classifiers that only measure what an image shows: one of a face crop, one of the whole image."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..world.look import DIRECTIONS, EXPRESSIONS
from ..world.scene import LIGHTS, PLACES, STUDIO

FACE_PX = 64
IMAGE_PX = 96
WIDTHS = (16, 32, 48, 64)
HIDDEN = 96
COUNTS = ("1", "2", "3", "4")
FACE_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "expression": EXPRESSIONS,
    "direction": DIRECTIONS,
    "light": LIGHTS,
}
IMAGE_QUESTIONS: Mapping[str, tuple[str, ...]] = {"count": COUNTS, "place": (*PLACES, STUDIO), "light": LIGHTS}


class Classifier(nn.Module):
    """Answers several questions about RGB images [B, 3, side, side] in -1..1: logits [B, answers] by question.

    side_px  what it was trained on, a multiple of 16
    """

    def __init__(self, questions: Mapping[str, tuple[str, ...]], side_px: int) -> None:
        super().__init__()
        self.questions, self.side_px = dict(questions), side_px
        layers: list[nn.Module] = []
        for before, width in zip((3, *WIDTHS), WIDTHS, strict=False):
            layers += [_conv(before, width, 2), _conv(width, width, 1)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(WIDTHS[-1] * 16, HIDDEN), nn.ReLU(), nn.Dropout(0.2))
        self.answers = nn.ModuleDict({name: nn.Linear(HIDDEN, len(options)) for name, options in questions.items()})

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        features = self.hidden(self.body(x_BCHW))
        return {name: answer(features) for name, answer in self.answers.items()}

    @torch.no_grad()
    def named(self, x_BCHW: Tensor) -> dict[str, list[str]]:
        """The likeliest answer to each question for each image."""
        return {
            name: [self.questions[name][index] for index in logits.argmax(1).tolist()]
            for name, logits in self(x_BCHW).items()
        }


class Classifiers(nn.Module):
    """Both networks in one file: `face` looks at square crops of the face box, `image` at whole images."""

    def __init__(self) -> None:
        super().__init__()
        self.face = Classifier(FACE_QUESTIONS, FACE_PX)
        self.image = Classifier(IMAGE_QUESTIONS, IMAGE_PX)


def load_classifiers(path: Path) -> Classifiers:
    """The shipped classifiers, in float32 and ready to answer. Raises ValueError for another file."""
    classifiers = Classifiers()
    try:
        classifiers.load_state_dict({_module_key(key): value.float() for key, value in load_file(path).items()})
    except RuntimeError as error:
        raise ValueError(f"{path.name} does not hold the miniature's classifiers: {error}") from error
    return classifiers.train(False)


def file_key(key: str) -> str:
    """A module's key as the shipped file names it: there the network of whole images is called `picture`."""
    return f"picture.{key.removeprefix('image.')}" if key.startswith("image.") else key


def _module_key(key: str) -> str:
    return f"image.{key.removeprefix('picture.')}" if key.startswith("picture.") else key


def _conv(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
