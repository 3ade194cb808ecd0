"""Nodes that measure what came out: who looks like whom, which images are best, and which of two batches."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..withanyone_core.faces.face_analysis import FaceAnalysis
from ..withanyone_core.faces.photo import image_arrays
from ..withanyone_core.identity import Identity
from ..withanyone_core.meter.comparing import compare
from ..withanyone_core.meter.diagnosing import diagnosis_text
from ..withanyone_core.meter.images.comparison import draw_comparison
from ..withanyone_core.meter.images.plot import draw_plot
from ..withanyone_core.meter.images.table import draw_table
from ..withanyone_core.meter.measuring import Meter
from ..withanyone_core.meter.numbers import comparison_numbers, numbers, pick_numbers
from ..withanyone_core.meter.picking import PICK_BY, PickBy, rank
from ..withanyone_core.regions.layout import PlacedFace
from . import sockets
from .images import images as as_images


class IdentityMeter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneIdentityMeter",
            display_name="Identity Meter",
            category=sockets.CATEGORY,
            description="Measures how much the people in images look like those they should be, like each other's, "
            "and, with a truth or second photos, how much was copied from the reference photo; says of each person "
            "whether they were kept, drifted, swapped, dominated, blended, pasted or lost. For images of any program.",
            inputs=[
                io.Image.Input("images", tooltip="The images to measure, whatever made them."),
                *_who(placed=False),
                *_compared_with(),
                *_anywhere(),
            ],
            outputs=[
                io.Image.Output("table", display_name="table"),
                io.Image.Output("plot", display_name="plot"),
                io.String.Output("numbers", display_name="numbers", tooltip="Every number, as JSON."),
                io.String.Output(
                    "diagnosis",
                    display_name="diagnosis",
                    tooltip="A line for each image and person: kept, drifted, swapped, dominated, blended, pasted, "
                    "lost, extra person, or unclear.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        face_analysis: FaceAnalysis,
        faces: tuple[PlacedFace, ...] = (),
        truth: Tensor | None = None,
        second_photos: Tensor | None = None,
        identity: Identity | None = None,
        identity_2: Identity | None = None,
        identity_3: Identity | None = None,
        identity_4: Identity | None = None,
    ) -> io.NodeOutput:
        photos = image_arrays(images, "images")
        identities = [one for one in (identity, identity_2, identity_3, identity_4) if one is not None]
        meter = _meter(faces, face_analysis, truth, second_photos, len(photos), identities)
        measured = meter.measure(photos)
        table = as_images([draw_table(measured, photos, _crops(faces, identities))])
        plot = as_images([draw_plot(measured)])
        results = _json(numbers(measured)), diagnosis_text(measured.checked)
        return io.NodeOutput(table, plot, *results, ui=_shown(cls, table, plot))


class PickBest(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyonePickBest",
            display_name="Pick Best",
            category=sockets.CATEGORY,
            description="Keeps the best images of a batch, best first, and says the score of each.",
            inputs=[
                io.Image.Input("images", tooltip="The images to choose from."),
                *_who(),
                io.Int.Input("keep", default=1, min=1, max=4096, tooltip="How many to keep; all, if there are fewer."),
                io.Combo.Input(
                    "score",
                    options=list(PICK_BY),
                    default=PICK_BY[0],
                    tooltip="likeness: to the truth or second photos, else to the references; a lost person counts as "
                    "0. likeness minus copying: less the copy-paste score, needs truth or second photos. least "
                    "leakage: people look least like each other; who lost fewest comes first.",
                ),
                *_compared_with(),
            ],
            outputs=[
                io.Image.Output("kept", display_name="images"),
                io.String.Output("scores", display_name="scores", tooltip="Every image's score and rank, as JSON."),
                io.String.Output(
                    "indices",
                    display_name="indices",
                    tooltip="Which images were kept, counted from 0, such as 2, 0: for nodes that take latents or "
                    "images from a batch.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        faces: tuple[PlacedFace, ...],
        face_analysis: FaceAnalysis,
        keep: int,
        score: PickBy,
        truth: Tensor | None = None,
        second_photos: Tensor | None = None,
    ) -> io.NodeOutput:
        photos = image_arrays(images, "images")
        measured = _meter(faces, face_analysis, truth, second_photos, len(photos)).measure(photos)
        ranked = rank(measured.scores, score)
        indices = [index for index, _ in ranked[:keep]]
        scores = _json(pick_numbers(measured, score, ranked, keep))
        return io.NodeOutput(images[indices], scores, ", ".join(map(str, indices)))


class Compare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneCompare",
            display_name="Compare Batches",
            category=sockets.CATEGORY,
            description="Measures two batches of the same people and shows them side by side with 95 % intervals.",
            inputs=[
                io.Image.Input("images_a", tooltip="The first batch."),
                io.Image.Input("images_b", tooltip="The second batch. Of the same length: compared image by image."),
                *_who(),
                io.String.Input("name_a", default="A", tooltip="What the first batch is called in the image."),
                io.String.Input("name_b", default="B", tooltip="What the second batch is called in the image."),
                io.Int.Input(
                    "bootstrap_seed",
                    default=0,
                    min=0,
                    max=2**32 - 1,
                    tooltip="Chooses the resamples behind the intervals; the same number gives the same intervals.",
                ),
                *_compared_with(),
            ],
            outputs=[
                io.Image.Output("chart", display_name="chart"),
                io.String.Output("numbers", display_name="numbers", tooltip="Every number, as JSON."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        images_a: Tensor,
        images_b: Tensor,
        faces: tuple[PlacedFace, ...],
        face_analysis: FaceAnalysis,
        name_a: str,
        name_b: str,
        bootstrap_seed: int,
        truth: Tensor | None = None,
        second_photos: Tensor | None = None,
    ) -> io.NodeOutput:
        first, second = image_arrays(images_a, "images_a"), image_arrays(images_b, "images_b")
        meter = _meter(faces, face_analysis, truth, second_photos, len(first) + len(second))
        batches = meter.measure(first, "images_a"), meter.measure(second, "images_b")
        names = name_a.strip() or "A", name_b.strip() or "B"
        rows = compare(*batches, seed=bootstrap_seed)
        chart = as_images([draw_comparison(names, batches, rows)])
        results = comparison_numbers(names, batches, rows, bootstrap_seed)
        return io.NodeOutput(chart, _json(results), ui=_shown(cls, chart))


def _who(placed: bool = True) -> list[io.Input]:
    """`placed`: whether people have to be placed."""
    where = "Who should be where: from the last Place Face of the chain that made the images."
    return [
        sockets.Faces.Input(
            "faces",
            optional=not placed,
            tooltip=where if placed else f"{where} Or people without a place below.",
        ),
        sockets.FaceAnalysis.Input(
            "face_analysis",
            tooltip="The judge. antelopev2 took part in the adapter's training and flatters it; another pack, such as "
            "buffalo_l, is the fairer judge. People are then compared by the faces of their crops. insightface's packs "
            "are for non-commercial research; dlib, YuNet with SFace and AuraFace are free for any use.",
        ),
    ]


def _anywhere() -> list[io.Input]:
    return [
        sockets.Identity.Input(
            name,
            optional=True,
            tooltip="Somebody who should be in the images, anywhere. Several photos make the verdict surer.",
        )
        for name in ("identity", "identity_2", "identity_3", "identity_4")
    ]


def _compared_with() -> list[io.Input]:
    return [
        io.Image.Input(
            "truth",
            optional=True,
            tooltip="A photograph of all the people together, or one for each image. Or second_photos.",
        ),
        io.Image.Input(
            "second_photos",
            optional=True,
            tooltip="Another photo of each person, one each, in the order in which they are placed. Or truth.",
        ),
    ]


def _meter(
    faces: tuple[PlacedFace, ...],
    analysis: FaceAnalysis,
    truth: Tensor | None,
    second_photos: Tensor | None,
    count: int,
    identities: Sequence[Identity] = (),
) -> Meter:
    """A meter that shows its progress over `count` images and what they are compared with."""
    truths = () if truth is None else image_arrays(truth, "truth")
    others = () if second_photos is None else image_arrays(second_photos, "second_photos")
    return Meter(faces, analysis, truths, others, _progress(count + len(truths) + len(others)), identities)


def _progress(count: int) -> Callable[[], None]:
    bar = comfy.utils.ProgressBar(count)
    return lambda: bar.update(1)


def _crops(faces: tuple[PlacedFace, ...], identities: Sequence[Identity] = ()) -> list[np.ndarray]:
    # Somebody of weight 0 was not to be in the image.
    crops = [face.identity.crop for face in faces if face.weight > 0] + [one.crop for one in identities]
    return [(crop.detach().cpu() * 255.0).round().to(torch.uint8).numpy() for crop in crops]


def _json(values: dict[str, Any]) -> str:
    """Refuses NaN, which JSON does not have."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)


def _shown(cls: type[io.ComfyNode], *batches: Tensor) -> dict[str, Any]:
    shown = [ui.PreviewImage(batch, cls=cls).as_dict() for batch in batches]
    # A node has one `ui`: the images of all batches go into one list.
    return shown[0] | {"images": [image for each in shown for image in each["images"]]}


NODES: tuple[type[io.ComfyNode], ...] = (IdentityMeter, PickBest, Compare)
