"""Files that change while the server runs: a file is its content, not its name."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save
from withanyone_pack.tests.comfyui import small_files
from withanyone_pack.tests.comfyui.server import ComfyServer, PromptError
from withanyone_pack.tests.comfyui.small_graphs import id_of, node_of, pixels, small_graph

pytestmark = pytest.mark.server

LORA = "people.safetensors"


@pytest.fixture(scope="module")
def server():
    with ComfyServer() as running:
        (running.base / "models/withanyone_loras").mkdir(exist_ok=True)
        yield running


def written(path, weights):
    """Into the very file that is there, as a copy does; with the date that it had, as some programs do."""
    state = path.stat() if path.exists() else None
    path.write_bytes(save({key: weight.to(torch.bfloat16) for key, weight in weights.items()}))
    if state is not None:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return path.name


def adapter(seed, shapes=None):
    return small_files.adapter(small_files.adapter_shapes() if shapes is None else shapes, seed)


def lora(seed):
    shapes = small_files.adapter_shapes()
    targets = [key.removesuffix(".weight") for key in shapes if key.endswith((".to_q.weight", ".to_out.weight"))]
    sizes = {f"{target}.lora_A.weight": (4, shapes[f"{target}.weight"][1]) for target in targets}
    sizes |= {f"{target}.lora_B.weight": (shapes[f"{target}.weight"][0], 4) for target in targets}
    return small_files.random_weights(sizes, seed)


def image(server, graph):
    return pixels(server.images(server.run(graph), id_of(graph, "SaveImage"))[0])


def with_adapter(name, **apply):
    graph = small_graph()
    node_of(graph, "WithAnyoneLoadAdapter").update(adapter_name=name)
    node_of(graph, "WithAnyoneApply").update(apply)
    return graph


def with_lora(name, strength=1.0):
    graph = with_adapter(small_files.ADAPTER)
    inputs = {"adapter": [id_of(graph, "WithAnyoneLoadAdapter"), 0], "lora_name": name, "strength": strength}
    graph["lora"] = {"class_type": "WithAnyoneAddAdapterLora", "inputs": inputs}
    node_of(graph, "WithAnyoneApply").update(adapter=["lora", 0])
    return graph


def test_an_adapter_that_was_written_over_is_the_new_one_in_all_its_parts(server):
    folder = server.base / "models/withanyone"
    name = written(folder / "changing.safetensors", adapter(40))
    before = image(server, with_adapter(name, resemblance=0.0))  # reads the arc branch alone
    written(folder / name, adapter(41))
    after = [image(server, with_adapter(name, resemblance=value)) for value in (0.0, 0.5)]
    fresh = written(folder / "fresh.safetensors", adapter(41))
    expected = [image(server, with_adapter(fresh, resemblance=value)) for value in (0.0, 0.5)]
    np.testing.assert_array_equal(after, expected)
    assert np.abs(after[0] - before).mean() > 1


def test_a_file_of_another_layout_may_take_its_place(server):
    folder = server.base / "models/withanyone"
    name = written(folder / "layouts.safetensors", adapter(42))
    image(server, with_adapter(name))
    written(folder / name, adapter(43, small_files.arc_shapes()))
    fresh = written(folder / "single.safetensors", adapter(43, small_files.arc_shapes()))
    np.testing.assert_array_equal(*(image(server, with_adapter(file)) for file in (name, fresh)))


def test_so_is_an_adapter_lora(server):
    folder = server.base / "models/withanyone_loras"
    written(folder / LORA, lora(50))
    before = image(server, with_lora(LORA))
    written(folder / LORA, lora(51))
    after = image(server, with_lora(LORA))
    fresh = written(folder / "fresh.safetensors", lora(51))
    np.testing.assert_array_equal(after, image(server, with_lora(fresh)))
    assert np.abs(after - before).mean() > 1
    weaker, plain = image(server, with_lora(LORA, 0.5)), image(server, with_adapter(small_files.ADAPTER))
    assert np.abs(weaker - plain).mean() > 1
    np.testing.assert_array_equal(image(server, with_lora(LORA, 0.0)), plain)


def test_so_is_siglip(server):
    file = server.base / "models/clip_vision" / small_files.SIGLIP
    before = image(server, small_graph(resemblance=1.0))
    written(file, small_files.random_weights(small_files.siglip_shapes(), seed=60))
    after = image(server, small_graph(resemblance=1.0))
    written(file, small_files.random_weights(small_files.siglip_shapes(), seed=5))
    assert np.abs(after - before).mean() > 1
    np.testing.assert_array_equal(image(server, small_graph(resemblance=1.0)), before)


def test_what_takes_its_place_and_is_no_adapter_is_named(server):
    file = server.base / "models/withanyone/page.safetensors"
    written(file, adapter(44))
    image(server, with_adapter(file.name))
    file.write_bytes(b"<!DOCTYPE html><html>log in</html>")
    with pytest.raises(PromptError, match=r"WithAnyoneLoadAdapter.*page\.safetensors is not a safetensors file \(web"):
        server.run(with_adapter(file.name))


def test_unknown_tensors_are_left_out_and_named_once(server):
    folder = server.base / "models/withanyone"
    name = written(folder / "extra.safetensors", adapter(45) | {"ema.scale": torch.ones(1), "step": torch.ones(1)})
    plain = written(folder / "plain.safetensors", adapter(45))
    np.testing.assert_array_equal(*(image(server, with_adapter(file)) for file in (name, plain)))
    assert server.log().count("extra.safetensors holds 2 tensors that WithAnyone does not know and leaves out") == 1
