"""The pack in a real ComfyUI server."""

import re

import numpy as np
import pytest
from withanyone_pack.tests.comfyui.server import ComfyServer, PromptError
from withanyone_pack.tests.comfyui.small_graphs import (
    id_of,
    node_of,
    pixels,
    small_graph,
    switched_off,
    with_boxes,
)

pytestmark = pytest.mark.server

NODES = {
    "WithAnyoneLoadAdapter",
    "WithAnyoneLoadFaceAnalysis",
    "WithAnyoneLoadSigLIP",
    "WithAnyoneIdentityFromPhotos",
    "WithAnyoneLayout",
    "WithAnyonePlaceFace",
    "WithAnyoneApply",
    "WithAnyoneScheduler",
}
TROUBLE = re.compile("warn|error|fail|cannot|unable|skip|traceback", re.IGNORECASE)
RUNS, SETTLED = 20, 5
GROWTH_MB = 30


@pytest.fixture(scope="module")
def server():
    with ComfyServer(exact_memory=True) as running:
        yield running


def image(server, graph):
    history = server.run(graph)
    return pixels(server.images(history, id_of(graph, "SaveImage"))[0])


def rerun(graph):
    """A graph that ComfyUI has to sample again: its cache goes by inputs. No step lies in the part cut off."""
    node_of(graph, "WithAnyoneApply").update(end_percent=0.999999)
    return graph


def test_loads_without_a_warning(server):
    log = server.log()
    assert re.search(r"\d seconds: \S+/custom_nodes/withanyone$", log, re.MULTILINE)
    # ComfyUI names a pack that failed, and so do loggers; one that is well is only in the list of loading times.
    assert "(IMPORT FAILED)" not in log
    assert [line for line in log.splitlines() if "withanyone" in line.lower() and TROUBLE.search(line)] == []


def test_every_node_is_known(server):
    known = server.object_info()
    assert known.keys() >= NODES
    assert {known[name]["category"] for name in NODES} == {"WithAnyone"}


def test_the_adapter_works_inside_its_boxes(server):
    boxes = ((32, 64, 112, 176), (144, 64, 224, 176))
    graph = with_boxes(small_graph(steps=6), *boxes)
    change = np.abs(image(server, graph) - image(server, switched_off(graph))).mean(2)
    inside = np.zeros(change.shape, bool)
    for x1, y1, x2, y2 in boxes:
        inside[y1:y2, x1:x2] = True
    assert change[inside].mean() > 5
    # Flux's own attention carries some of it outside.
    assert change[inside].mean() > 3 * change[~inside].mean()


def test_weight_zero_is_the_base_model(server):
    graph = small_graph()
    bare = small_graph()
    node_of(bare, "BasicGuider").update(model=node_of(bare, "WithAnyoneApply")["model"])
    np.testing.assert_array_equal(image(server, switched_off(graph)), image(server, bare))


def test_interrupt_leaves_the_server_sane(server):
    graph = small_graph(seed=11)
    before = image(server, graph)
    long = small_graph(size_px=768, steps=200, seed=12)
    prompt = server.queue(long)
    server.wait_for_step(5, 200)
    server.interrupt()
    with pytest.raises(PromptError, match="interrupted"):
        server.wait(prompt)
    np.testing.assert_array_equal(image(server, rerun(graph)), before)


def test_error_leaves_the_server_sane(server):
    graph = small_graph(seed=21)
    before = image(server, graph)
    faceless = small_graph(seed=21)
    node_of(faceless, "LoadImage", 1).update(image="no_person.jpg")
    with pytest.raises(PromptError, match=r"WithAnyoneIdentityFromPhotos.*face"):
        server.run(faceless)
    np.testing.assert_array_equal(image(server, rerun(graph)), before)


def test_twenty_runs_keep_their_memory(server):
    memory, models = [], []
    for run in range(RUNS):
        server.run(small_graph(seed=100 + run, resemblance=0.3 + 0.01 * run))
        memory.append(server.memory_mb())
        models.append(server.loaded_models())
    print("memory after each run:", *(f"{megabytes:.0f}" for megabytes in memory), "MB")
    assert memory[-1] - memory[SETTLED - 1] <= GROWTH_MB, memory
    assert models[-1] == models[SETTLED - 1], models


def test_refusal_names_the_node(server):
    graph = small_graph()
    node_of(graph, "WithAnyoneScheduler").update(steps=0)
    with pytest.raises(PromptError, match="WithAnyoneScheduler"):
        server.queue(graph)
