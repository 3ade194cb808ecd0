"""In a real ComfyUI the shipped miniature workflow generates what the models do without it, from the same noise."""

import numpy as np
import pytest
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import id_of, node_of, pixels, shipped_graph, upstream_of
from withanyone_pack.tests.training.rooms import add_training

pytestmark = pytest.mark.server
add_training()

from withanyone_pack.miniature.generation import shipped_generator

SECONDS = 300


@pytest.fixture(scope="module")
def graph():
    """The workflow with nobody in it: the guider gets the base model as it is."""
    whole = shipped_graph("miniature")
    node_of(whole, "BasicGuider").update(model=node_of(whole, "WithAnyoneApply")["model"])
    return upstream_of(whole, "SaveImage")


def test_every_image_is_the_generators(graph):
    with ComfyServer() as server:
        history = server.run(graph, SECONDS)
        shown = [pixels(file) for file in server.images(history, id_of(graph, "SaveImage"))]
    generated = shipped_generator().generate(
        [node_of(graph, "CLIPTextEncode")["text"]] * len(shown),
        node_of(graph, "RandomNoise")["noise_seed"],
        node_of(graph, "WithAnyoneScheduler")["steps"],
        node_of(graph, "FluxGuidance")["guidance"],
    )
    assert len(shown) == node_of(graph, "EmptySD3LatentImage")["batch_size"]
    # ComfyUI cuts off what PNG's eight bits do not hold, the generator rounds
    assert np.abs(np.stack(shown).astype(int) - generated).max() <= 2
