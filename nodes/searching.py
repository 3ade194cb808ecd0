"""Sample Until Alike: a sampler that draws seeds, judges them early, and keeps the image that is asked for."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.samplers
import comfy.sd
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io
from torch import Tensor

from ..withanyone_core.faces.face_analysis import FaceAnalysis
from ..withanyone_core.faces.photo import image_arrays
from ..withanyone_core.injection.comfyui.batch_search import Studio, kept_latent
from ..withanyone_core.injection.comfyui.guided_sampling import SEEDS, Shown, cut_of
from ..withanyone_core.regions.layout import PlacedFace
from ..withanyone_core.sampling_search.judging import SearchJudge
from ..withanyone_core.sampling_search.rules import Rules
from ..withanyone_core.sampling_search.search import Plan
from ..withanyone_core.sampling_search.table import batch_text
from . import sockets


class SampleUntilAlike(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WithAnyoneSampleUntilAlike",
            display_name="Sample Until Alike",
            category=sockets.CATEGORY,
            description="A sampler that draws several seeds, judges them early, finishes the most promising, and stops "
            "as soon as everybody looks as much like themselves as was asked for, without copying.",
            inputs=[
                *_sampled_by(),
                *_judged_by(),
                *_spent(),
                *_asked_for(),
                *_weighed(),
                io.Image.Input(
                    "second_photos",
                    optional=True,
                    tooltip="Another photo of each person, one each, in the order in which they are placed. Without "
                    "them copy-paste is unknown, and similarity is that to the reference photos.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent"),
                io.Image.Output(display_name="images"),
                io.String.Output(
                    "spent",
                    display_name="table",
                    tooltip="Every draw: its seed and weights, how alike everybody was, what it cost, and when and "
                    "why it was stopped.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        guider: comfy.samplers.CFGGuider,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        latent_image: Mapping[str, Any],
        vae: comfy.sd.VAE,
        faces: tuple[PlacedFace, ...],
        face_analysis: FaceAnalysis,
        noise_seed: int,
        draws: int,
        stop_at: float,
        finish: int,
        lowest_similarity: float,
        highest_similarity: float,
        copy_paste_ceiling: float,
        lowest_weight: float,
        highest_weight: float,
        weight_draws: int,
        second_photos: Tensor | None = None,
    ) -> io.NodeOutput:
        rules = Rules(lowest_similarity, highest_similarity, copy_paste_ceiling)
        people = tuple(face for face in faces if face.weight > 0)
        others = () if second_photos is None else image_arrays(second_photos, "second_photos")
        judge = SearchJudge(people, face_analysis, others)
        bounds = (lowest_weight, highest_weight) if weight_draws and lowest_weight != highest_weight else None
        seeds = tuple((noise_seed + number) % SEEDS for number in range(draws))
        plan = Plan(seeds, finish, tuple(face.weight for face in people), bounds, weight_draws)
        # A single draw has no rival, so judging it early would only cost a decoding.
        cut = cut_of(sigmas, 1.0 if draws == 1 and bounds is None else stop_at)
        progress = partial(_progress, guider.model_patcher)
        studio = Studio(guider, sampler, sigmas, latent_image, vae, people, judge, cut, progress)
        results = studio.search_batch(plan, rules)
        table = batch_text(results, rules, judge.names, (cut, len(sigmas) - 1), judge.notes)
        images = torch.cat([each.best.image for each in results])
        return io.NodeOutput(kept_latent(latent_image, results), images, table, ui={"text": (table,)})


def _progress(patcher: comfy.model_patcher.ModelPatcher, planned: int) -> Shown:
    """A bar over all steps that may be run, with the previews that a sampler shows."""
    previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
    bar = comfy.utils.ProgressBar(planned)
    done = 0

    def show(step: int, clean: Tensor) -> None:
        nonlocal done
        # Counted here, because each draw's own steps begin at 0 again.
        done += 1
        preview = previewer.decode_latent_to_preview_image("JPEG", clean) if previewer else None
        bar.update_absolute(min(done, planned), planned, preview)

    return show


def _sampled_by() -> list[io.Input]:
    return [
        io.Guider.Input("guider", tooltip="From Basic Guider or CFG Guider, with Apply WithAnyone's model."),
        io.Sampler.Input("sampler", tooltip="From KSampler Select. Euler, or another that remembers no earlier step."),
        io.Sigmas.Input("sigmas", tooltip="From WithAnyone Scheduler or any other."),
        io.Latent.Input("latent_image", tooltip="Each image of a batch is searched for on its own."),
        io.Vae.Input("vae", tooltip="Decodes what is judged."),
    ]


def _judged_by() -> list[io.Input]:
    return [
        sockets.Faces.Input("faces", tooltip="Who should be where: what Apply WithAnyone got."),
        sockets.FaceAnalysis.Input(
            "face_analysis",
            tooltip="The judge: another recognizer than the one that made the identities, such as buffalo_l where "
            "those are antelopev2's. The same one flatters what it steered, and a warning says so.",
        ),
    ]


def _spent() -> list[io.Input]:
    return [
        io.Int.Input(
            "noise_seed",
            default=0,
            min=0,
            max=SEEDS - 1,
            control_after_generate=True,
            tooltip="Of the first draw; the next ones follow. A seed gives the same image in SamplerCustomAdvanced.",
        ),
        io.Int.Input("draws", default=8, min=1, max=64, tooltip="How many seeds are drawn at most."),
        io.Float.Input(
            "stop_at",
            default=0.25,
            min=0.01,
            max=1.0,
            step=0.01,
            tooltip="Fraction of the steps after which a draw is judged, and stopped unless it is among the most "
            "promising. 1 samples every draw to the end.",
        ),
        io.Int.Input("finish", default=2, min=1, max=64, tooltip="How many draws are sampled to the end at most."),
    ]


def _asked_for() -> list[io.Input]:
    return [
        _cosine(
            "lowest_similarity",
            0.45,
            "The least similarity of anybody, as the judge measures it. What is usual depends on the judge: see what "
            "two photos of one person come to in Identity Meter.",
        ),
        _cosine(
            "highest_similarity",
            0.75,
            "The most similarity of anybody: above it an image is more like a copy of the photo than like the person.",
        ),
        _cosine(
            "copy_paste_ceiling",
            0.2,
            "The most copy-paste of anybody: 1 is the reference photo itself, -1 the second photo. Needs "
            "second_photos.",
        ),
    ]


def _weighed() -> list[io.Input]:
    return [
        _weight("lowest_weight", "The least weight that the search may give a person."),
        _weight(
            "highest_weight",
            "The most weight that the search may give a person. As much as lowest_weight: weights stay those of "
            "Place Face.",
        ),
        io.Int.Input(
            "weight_draws",
            default=4,
            min=0,
            max=64,
            tooltip="How many further draws of the best seed may be spent on the weights of those outside the window.",
        ),
    ]


def _cosine(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=-1.0, max=1.0, step=0.01, tooltip=tooltip)


def _weight(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=1.0, min=0.05, max=3.0, step=0.05, tooltip=tooltip)


NODES: tuple[type[io.ComfyNode], ...] = (SampleUntilAlike,)
