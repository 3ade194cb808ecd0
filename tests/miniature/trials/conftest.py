"""The small world's painter, reader of photos and judge, loaded once."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()

from miniature.ablation.ladder import Eyes
from miniature.ablation.setting import loaded_eyes
from miniature.weights_folder import WEIGHTS


@pytest.fixture(scope="session")
def eyes() -> Eyes:
    torch.set_num_threads(1)
    return loaded_eyes(WEIGHTS)
