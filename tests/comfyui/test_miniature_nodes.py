"""The miniature's loaders: the same sockets as the real ones, and words where a file is missing."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.miniature import weights_folder
from withanyone_pack.miniature.models import backbone
from withanyone_pack.nodes import loading, miniature
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.withanyone_core.adapter.shape import Branch, BranchShape

LAYERS = backbone.DOUBLE_BLOCKS + backbone.SINGLE_BLOCKS
REAL = {
    miniature.MiniatureAdapter: loading.LoadAdapter,
    miniature.MiniatureFaceAnalysis: loading.LoadFaceAnalysis,
    miniature.MiniatureSigLIP: loading.LoadSigLIP,
}
READERS = [node for node in miniature.NODES if node is not miniature.MiniaturePhotos]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in the place of the shipped weights."""
    monkeypatch.setattr(weights_folder, "WEIGHTS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("node", REAL, ids=lambda node: node.__name__)
def test_what_comes_out_is_what_the_real_loader_gives(node):
    given, real = (loader.define_schema().outputs for loader in (node, REAL[node]))
    assert [(output.get_io_type(), output.display_name) for output in given] == [
        (output.get_io_type(), output.display_name) for output in real
    ]
    assert node.define_schema().inputs == []


@pytest.mark.parametrize("node", READERS, ids=lambda node: node.__name__)
def test_a_pack_without_the_files_says_so(node, folder):
    with pytest.raises(FileNotFoundError, match=r"is missing\. It is part of the pack"):
        node.execute()


def test_the_adapter_is_opened_by_its_shapes(folder):
    shapes = [BranchShape(backbone.WIDTH, 2, LAYERS, 4, 512, width) for width in (None, 192)]
    random_adapter(folder / weights_folder.ADAPTER, shapes=shapes, dtype=torch.float16)
    adapter = miniature.MiniatureAdapter.execute().result[0]
    assert adapter.file.shapes == dict(zip((Branch.ARC, Branch.SIG), shapes, strict=True))
    assert not adapter.fp8


def test_the_shipped_adapter_fits_the_shipped_model():
    file = miniature.MiniatureAdapter.execute().result[0].file
    assert set(file.shapes) == {Branch.ARC, Branch.SIG}
    assert {(shape.hidden, shape.layers) for shape in file.shapes.values()} == {(backbone.WIDTH, LAYERS)}
