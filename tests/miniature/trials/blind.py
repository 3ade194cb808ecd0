"""What stands in for generating and training, where only what is run and kept is tested."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.lab.ablation.images import MEASURES
from miniature.lab.ablation.images import Test as Images
from miniature.lab.ablation.sliders import Slider
from miniature.lab.folders import TRAINING_RECIPES
from training.evaluation.records import Line
from withanyone_core.adapter.network import AdapterNetwork, file_tensors
from withanyone_core.adapter.shape import BranchShape

RECIPE = TRAINING_RECIPES / "miniature.yaml"
ARC = BranchShape(hidden=192, heads=3, layers=6, arc_tokens=8, embedding=512)
SIG = BranchShape(hidden=192, heads=3, layers=6, arc_tokens=8, embedding=512, siglip_width=192)


def adapter(path: Path, *shapes: BranchShape) -> Path:
    """Writes an adapter that knows nobody."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AdapterNetwork(shapes)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
    save_file(file_tensors(network.state_dict()), path)
    return path


class Blind:
    """A bench that generates nothing: every score is what was said."""

    eyes = None

    def __init__(self, values: Sequence[float] = (0.5, 0.25)) -> None:
        self.values, self.seen = list(values), []

    def scores(self, path: Path, test: Images, slider: Slider, values: Sequence[float], steps: int) -> list[Line]:
        self.seen.append(path)
        return [{"slider": value, **dict.fromkeys(MEASURES, self.values)} for value in values]
