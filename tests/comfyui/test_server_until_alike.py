"""Sample Until Alike in a real ComfyUI server: in the place of the sampler of shipped graphs, and interrupted."""

import re

import pytest
from withanyone_pack.tests.comfyui.exchange import with_standins
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.small_graphs import id_of, node_of, pixels, shipped_graph

pytestmark = pytest.mark.server

NODE = "WithAnyoneSampleUntilAlike"
SIZES = {"masks": 1024, "miniature": 176}  # painted places, and those that the miniature knows, fit no other
UNREACHABLE = {"lowest_similarity": 0.99, "highest_similarity": 1.0}


@pytest.fixture(scope="module")
def server():
    with ComfyServer() as running:
        yield running


def small(graph, size_px=128, steps=4):
    """The graph on a small canvas; the miniature's has the only size that it knows."""
    for node in graph.values():
        inputs = node["inputs"]
        if node["class_type"] == "WithAnyoneLayout" and inputs["width"] > size_px:
            inputs.update(width=size_px, height=size_px)
        elif node["class_type"] == "PrimitiveInt":
            inputs.update(value=size_px)
        elif node["class_type"] == "ImageScaleToTotalPixels":
            inputs.update(megapixels=0.02)
        elif node["class_type"] == "WithAnyoneScheduler":
            inputs.update(steps=steps)
        elif node["class_type"] == "EmptySD3LatentImage":
            inputs.update(batch_size=1)
    return graph


def searched(name, **settings):
    """A shipped graph with the node in the place of SamplerCustomAdvanced, and CFG Guider in that of Basic Guider."""
    graph = small(with_standins(shipped_graph(name)), SIZES.get(name, 128))
    sampler, guider = id_of(graph, "SamplerCustomAdvanced"), id_of(graph, "BasicGuider")
    what = graph[guider]["inputs"]
    graph[guider] = {
        "class_type": "CFGGuider",
        "inputs": {
            "model": what["model"],
            "positive": what["conditioning"],
            "negative": what["conditioning"],
            "cfg": 1.0,
        },
    }
    taken = {key: graph[sampler]["inputs"][key] for key in ("guider", "sampler", "sigmas", "latent_image")}
    people = node_of(graph, "WithAnyoneIdentityFromPhotos")
    taken |= {"vae": node_of(graph, "VAEDecode")["vae"], "faces": node_of(graph, "WithAnyoneApply")["faces"]}
    taken |= {"face_analysis": people["face_analysis"], "draws": 3, "stop_at": 0.5, "finish": 1}
    graph[sampler] = {"class_type": NODE, "inputs": taken | UNREACHABLE | settings}
    graph["table"] = {"class_type": "PreviewAny", "inputs": {"source": [sampler, 2]}}
    return graph


def table_of(history, name="table"):
    return history["outputs"][name]["text"][0]


@pytest.mark.parametrize("name", ["style_lora", "kontext_edit", "masks", "miniature"])
def test_it_samples_what_the_sampler_of_a_shipped_graph_does(server, name):
    graph = searched(name)
    history = server.run(graph)
    table = table_of(history)
    assert "3 draws, judged after step 2 of 4, 1 finished; 8 forwards." in table
    assert len(re.findall(r"stopped: less promising than the 1 finished", table)) == 2
    assert pixels(server.images(history, id_of(graph, "SaveImage"))[0]).std() > 5


def test_the_kept_seed_is_the_same_image_in_sampler_custom_advanced(server):
    graph = searched("style_lora")
    history = server.run(graph)
    kept = int(re.search(r"seed (\d+)\.", table_of(history))[1])
    plain = small(with_standins(shipped_graph("style_lora")))
    node_of(plain, "RandomNoise").update(noise_seed=kept)
    images = [
        pixels(server.images(done, id_of(made, "SaveImage"))[0])
        for made, done in ((graph, history), (plain, server.run(plain)))
    ]
    assert abs(images[0] - images[1]).max() <= 1


def test_the_shipped_workflow_runs_small(server):
    graph = small(with_standins(shipped_graph("until_alike")))
    node_of(graph, NODE).update(draws=2)
    table = table_of(server.run(graph), id_of(graph, "PreviewAny"))
    assert "Ended: all draws are spent." in table
    assert "1 person 1: weight, estimate, final" in table
    assert table.count("lost") > 2  # the stand-in for FLUX.1 draws nobody


def test_an_interruption_returns_the_best_so_far_and_the_graph_goes_on(server):
    graph = small(searched("style_lora", draws=2, stop_at=0.01, noise_seed=70), 512, steps=200)
    node_of(graph, "WithAnyoneLayout").update(width=512, height=512)
    prompt = server.queue(graph)
    server.wait_for_step(5, 198)
    server.interrupt()
    history = server.wait(prompt)
    table = table_of(history)
    assert table.startswith("Ended: interrupted.")
    assert "the clean estimate of a draw that was not finished" in table
    assert len(server.images(history, id_of(graph, "SaveImage"))) == 1
