"""All that generates and measures in the small world, loaded once."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.lab.ablation.ladder import Bench
from miniature.lab.ablation.setting import load_bench
from miniature.weights_folder import WEIGHTS


@pytest.fixture(scope="session")
def bench() -> Bench:
    torch.set_num_threads(1)
    return load_bench(WEIGHTS)
