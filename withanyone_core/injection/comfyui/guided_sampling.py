"""ComfyUI's own guiders and samplers, stopped at a step and taken up again: what a search over seeds draws with."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...regions.layout import PlacedFace
from ...sampling_search.search import Draw, Weights
from .injection import WEIGHTS, PersonWeights

KEY = "withanyone_search"
OTHER_NOISE = 2**63  # added to the seed of the second part, whose sampler would else draw the first part's noise again
SEEDS = 2**64

Shown = Callable[[int, Tensor], None]  # a step of a run, and the clean estimate in the base model's own scale


class GuidedSampling:
    """One image of a latent batch by ComfyUI's guider and sampler, in two parts that meet at a step.

    The sampler's noise is that of SamplerCustomAdvanced: a seed gives the same image there. Samplers that remember
    earlier steps (dpmpp_2m and others) forget them where the parts meet.
    """

    def __init__(
        self,
        guider: comfy.samplers.CFGGuider,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        latent: Mapping[str, Any],
        place: int,
        cut: int,
        shown: Shown,
    ) -> None:
        """
        latent  a ComfyUI LATENT; `place` is that of the image in its batch
        cut     after how many steps draws are judged; as many as there are, and they are complete
        shown   called after each step
        """
        self.forwards = 0
        self._guider, self._sampler, self._sigmas, self._cut, self._shown = guider, sampler, sigmas, cut, shown
        self._latent, self._place = latent, place
        self._start = latent["samples"][place : place + 1]
        self._mask = _mask_of(latent, place)
        self._people: tuple[PlacedFace, ...] = ()

    def search_weights_of(self, people: tuple[PlacedFace, ...]) -> None:
        """Makes `draw` give these people their weights; without it they keep those of Place Face."""
        self._people = people

    @property
    def steps(self) -> int:
        return len(self._sigmas) - 1

    def draw(self, seed: int, weights: Weights) -> Draw:
        """Raises ValueError where weights are searched and no Apply WithAnyone of the guider has these people."""
        override = PersonWeights(dict(zip(self._people, weights, strict=True)) if self._people else {})
        guider = self._counting(override)
        noise = self._noise(seed)
        # Sigmas are the ends of steps: both parts hold the one where they meet.
        stopped, clean = self._run(guider, noise, self._sigmas[: self._cut + 1], seed, 0)
        if len(override.used) < len(self._people):
            raise ValueError(
                "Weights are to be searched, but the guider's model was not made with these people. Connect the same "
                "faces to Apply WithAnyone and to this node, and Apply WithAnyone's model to the guider; or set both "
                "bounds of the weight to the same number."
            )
        if self._cut == self.steps:
            return Draw(stopped, lambda: stopped)
        return Draw(clean, partial(self._finish, guider, stopped, seed))

    def _finish(self, guider: comfy.samplers.CFGGuider, stopped: Tensor, seed: int) -> Tensor:
        rest = self._sigmas[self._cut :]
        noise = self._noise_in(guider.model_patcher.model, stopped, rest[0])
        return self._run(guider, noise, rest, (seed + OTHER_NOISE) % SEEDS, self._cut)[0]

    def _run(
        self, guider: comfy.samplers.CFGGuider, noise: Tensor, sigmas: Tensor, seed: int, first: int
    ) -> tuple[Tensor, Tensor]:
        """The latent at the end of some sigmas, and the last clean estimate."""
        seen = {}

        def callback(step: int, clean: Tensor, noisy: Tensor, steps: int) -> None:
            seen["clean"] = clean
            self._shown(first + step + 1, clean)

        ended = guider.sample(
            noise,
            self._start,
            self._sampler,
            sigmas,
            denoise_mask=self._mask,
            callback=callback,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        ended = ended.to(comfy.model_management.intermediate_device())
        if "clean" not in seen:  # a sampler that tells nothing: what it ends with is all there is
            return ended, ended
        # The callback's estimate is in the model's own scale, a LATENT in the VAE's.
        return ended, guider.model_patcher.model.process_latent_out(seen["clean"].to(ended.device))

    def _noise(self, seed: int) -> Tensor:
        """That of the image's place in the batch, as ComfyUI's RandomNoise makes it."""
        batch = comfy.sample.prepare_noise(self._latent["samples"], seed, self._latent.get("batch_index"))
        noise = batch[self._place : self._place + 1]
        return cast(Tensor, noise)  # nested only for latents of several tensors, which FLUX.1 has not

    def _noise_in(self, base: comfy.model_base.BaseModel, stopped: Tensor, sigma: Tensor) -> Tensor:
        """The noise from which the sampler starts exactly where the first part stopped.

        Given as noise, and not as a latent that already holds it, so that a mask keeps the latent it is meant to keep.
        """
        scale = base.model_sampling.noise_scaling
        # As ComfyUI's guiders do: a latent of zeros counts as empty and is not scaled.
        start = base.process_latent_in(self._start) if torch.count_nonzero(self._start) > 0 else self._start
        stopped, start, sigma = stopped.float(), start.to(stopped.device).float(), sigma.to(stopped.device)
        nothing = torch.zeros_like(stopped)
        # A sampler's result comes back over (1 - sigma) in flow matching; scaling it without noise takes that back.
        noisy = scale(sigma, nothing, base.process_latent_in(stopped))
        # noise_scaling is linear in the noise: sigma times it is what `start` lacks.
        return (noisy - scale(sigma, nothing, start)) / sigma

    def _counting(self, override: PersonWeights) -> comfy.samplers.CFGGuider:
        """The guider with options of its own: it counts its forwards, and knows of other weights."""

        def count(executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
            self.forwards += 1
            return executor(*args, **kwargs)

        # A shallow copy: the guider that came in may be used by other nodes.
        guider = copy.copy(self._guider)
        guider.model_options = comfy.model_patcher.create_model_options_clone(guider.model_options)
        comfy.patcher_extension.add_wrapper_with_key(
            WrappersMP.PREDICT_NOISE, KEY, count, guider.model_options, is_model_options=True
        )
        if override.weights:
            guider.model_options["transformer_options"][WEIGHTS] = override
        return guider


def cut_of(sigmas: Tensor, fraction: float) -> int:
    """After how many steps a fraction of them is done: at least one, and below the first sigma.

    Raises ValueError for sigmas without a step.
    """
    steps = len(sigmas) - 1
    if steps < 1:
        raise ValueError(f"The schedule holds {len(sigmas)} sigmas, which is no step; connect a scheduler's sigmas.")
    cut = min(max(round(fraction * steps), 1), steps)
    while cut < steps and sigmas[cut] >= sigmas[0]:  # a model that starts from pure noise has no latent there yet
        cut += 1
    return cut


def _mask_of(latent: Mapping[str, Any], place: int) -> Tensor | None:
    mask = latent.get("noise_mask")
    return mask if mask is None or len(mask) == 1 else mask[place % len(mask) : place % len(mask) + 1]
