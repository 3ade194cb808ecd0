"""A search for each image of a latent batch, with ComfyUI's guider, sampler and VAE."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.sd
import torch
from torch import Tensor

from ...faces.photo import image_arrays
from ...regions.layout import PlacedFace
from ...sampling_search.judging import SearchJudge
from ...sampling_search.rules import People, Rules
from ...sampling_search.search import INTERRUPTED, Plan, Sampling, SearchResult, search
from .guided_sampling import GuidedSampling, Shown


@dataclass(frozen=True, eq=False)
class Studio:
    """What a search samples, decodes and judges with.

    latent    ComfyUI's LATENT
    people    who are placed, as Apply WithAnyone got them, without those of weight 0
    cut       after how many steps draws are judged
    progress  from the most steps that a search may take to what is called after each
    """

    guider: comfy.samplers.CFGGuider
    sampler: comfy.samplers.Sampler
    sigmas: Tensor
    latent: Mapping[str, Any]
    vae: comfy.sd.VAE
    people: tuple[PlacedFace, ...]
    judge: SearchJudge
    cut: int
    progress: Callable[[int], Shown]

    def search_batch(self, plan: Plan, rules: Rules) -> list[SearchResult]:
        """One search for each image of the batch; where the user interrupts, those that have something."""
        results: list[SearchResult] = []
        latent = _fitting(self.guider, self.latent)
        for place in range(len(latent["samples"])):
            try:
                results.append(self._search(plan, rules, latent, place))
            except comfy.model_management.InterruptProcessingException:
                if not results:
                    raise
                break
            if results[-1].outcome == INTERRUPTED:
                break
        return results

    def _search(self, plan: Plan, rules: Rules, latent: Mapping[str, Any], place: int) -> SearchResult:
        shown = self.progress(most_steps(plan, self.cut, len(self.sigmas) - 1))
        guided = GuidedSampling(self.guider, self.sampler, self.sigmas, latent, place, self.cut, shown)
        if plan.bounds:
            guided.search_weights_of(self.people)
        sampling = Sampling(guided.draw, self._decode, self._judge, lambda: guided.forwards)
        return search(plan, rules, sampling, comfy.model_management.InterruptProcessingException)

    def _decode(self, latent: Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return self.vae.decode(latent)

    def _judge(self, image_BHWC: Tensor) -> People:
        return self.judge.judge(image_arrays(image_BHWC, "images")[0])


def kept_latent(latent: Mapping[str, Any], results: Sequence[SearchResult]) -> dict[str, Any]:
    """The kept latents as the LATENT that came in; what belongs to images that an interruption cost is left out."""
    count = len(results)
    parts = {
        name: latent[name][:count]
        # A mask or a list of another length is meant for the whole batch, and stays whole.
        for name in ("noise_mask", "batch_index")
        if name in latent and len(latent[name]) == len(latent["samples"])
    }
    return {**latent, **parts, "samples": torch.cat([each.best.latent for each in results])}


def most_steps(plan: Plan, cut: int, steps: int) -> int:
    """The most steps that a search may take."""
    seeds = cut * len(plan.seeds) + (steps - cut) * min(plan.finish, len(plan.seeds))
    return seeds + steps * plan.weight_draws if plan.bounds else seeds


def _fitting(guider: comfy.samplers.CFGGuider, latent: Mapping[str, Any]) -> dict[str, Any]:
    """An empty latent gets the channels of the base model."""
    return {**latent, "samples": comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])}
