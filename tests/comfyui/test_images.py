"""What every node that takes an IMAGE says to an image that is none, and how it takes grey and transparent ones."""

import asyncio

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.editing import PrepareFaceEdit
from withanyone_pack.nodes.extension import WithAnyoneExtension
from withanyone_pack.nodes.face_layout import FaceLayout
from withanyone_pack.nodes.identities import IdentityFromPhotos
from withanyone_pack.nodes.layout import WithAnyonePlaceFace
from withanyone_pack.nodes.layout_sources import LayoutFromImage, PreviewFaces
from withanyone_pack.nodes.measuring import Compare, IdentityMeter, PickBest
from withanyone_pack.nodes.searching import SampleUntilAlike
from withanyone_pack.tests.comfyui.sampling import person, two_faces
from withanyone_pack.withanyone_core.faces.alignment import TEMPLATE_PX
from withanyone_pack.withanyone_core.identity import Face


class OneFace:
    def faces(self, photo):
        embedding = torch.randn(512, generator=torch.Generator().manual_seed(1)).numpy()
        return (Face((8.0, 8.0, 56.0, 56.0), 0.9, TEMPLATE_PX, embedding),)


NODES = {
    IdentityFromPhotos: lambda image: IdentityFromPhotos.execute(
        image, OneFace(), "Ann", "best score", 1, "first", "error"
    ),
    LayoutFromImage: lambda image: LayoutFromImage.execute(
        image, OneFace(), 64, 64, "left to right", 0, "crop to fill"
    ),
    PrepareFaceEdit: lambda image: PrepareFaceEdit.execute(image, OneFace(), "", 0),
    PreviewFaces: lambda image: PreviewFaces.execute(two_faces(), 64, 64, image),
    FaceLayout: lambda image: FaceLayout.execute(64, 64, "[[0, 0, 1, 1]]", image),
    IdentityMeter: lambda image: IdentityMeter.execute(image, face_analysis=OneFace(), faces=two_faces()),
    PickBest: lambda image: PickBest.execute(image, two_faces(), OneFace(), 1, "likeness"),
    Compare: lambda image: Compare.execute(image, image, two_faces(), OneFace(), "A", "B", 0),
}
# Refused before anything is sampled, so that no model is needed here; what goes through is test_searching.py's.
SAMPLING = {
    SampleUntilAlike: lambda image: SampleUntilAlike.execute(
        None, None, None, {}, None, two_faces(), OneFace(), 0, 1, 0.25, 1, 0.0, 1.0, 1.0, 1.0, 1.0, 0, image
    ),
}


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))


@pytest.mark.parametrize("node", [*NODES, *SAMPLING], ids=lambda node: node.__name__)
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            torch.rand(0, 64, 64, 3),
            r"(photos|images?|images_a|backdrop): the IMAGE batch is empty \(shape \(0, 64, 64, 3\)\); connect at",
        ),
        (
            torch.full((1, 64, 64, 3), torch.nan),
            r"(photos|images?|images_a|backdrop): photo 1 holds 12288 values that are NaN or infinite",
        ),
        (
            torch.rand(1, 3, 64, 64),
            r"(photos|images?|images_a|backdrop): expected 1 \(grey\), 3 \(RGB\) or 4 \(RGBA\) channels last, got",
        ),
        (
            torch.rand(64, 64, 3),
            r"(photos|images?|images_a|backdrop): expected an IMAGE batch \[images, height, width, channels\], got",
        ),
        (
            torch.rand(1, 64, 64, 3) * 255,
            r"(photos|images?|images_a|backdrop): photo 1 has values up to .*; expected 0 to 1",
        ),
    ],
    ids=["empty", "nan", "channels first", "no batch", "0 to 255"],
)
def test_what_is_no_image_is_refused_with_the_name_of_the_input(node, image, words):
    with pytest.raises(ValueError, match=words):
        (NODES | SAMPLING)[node](image)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_rgb_and_transparent_images_go_through(node, channels):
    assert NODES[node](torch.rand(1, 64, 64, channels)).result


def test_no_other_node_takes_images():
    nodes = asyncio.run(WithAnyoneExtension().get_node_list())
    taking = {node for node in nodes for entry in node.define_schema().inputs if entry.get_io_type() == "IMAGE"}
    assert taking == {*NODES, *SAMPLING}


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(0, 8, 8), "The mask batch holds 0 masks"),
        (torch.ones(3, 8, 8), "The mask batch holds 3 masks, but a person stands in one"),
        (torch.full((1, 8, 8), torch.nan), "The mask contains NaN"),
        (torch.ones(1, 8, 8, 3), r"The mask has the shape \[1, 8, 8, 3\].* Connect a MASK, not an image"),
    ],
)
def test_masks_that_are_no_place_are_refused_by_the_node(mask, words):
    with pytest.raises(ValueError, match=words):
        WithAnyonePlaceFace.execute(person(1, "Ada"), 1.0, 0, None, mask)
