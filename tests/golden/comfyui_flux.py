"""Replays of whole small models on ComfyUI's own FLUX.1 class, through the socket that the Apply node uses."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor

from ...withanyone_core.adapter.shape import Branch
from ...withanyone_core.identity import Identity
from ...withanyone_core.regions.layout import Box, PlacedFace
from ..pack import add_comfyui
from .report import Outcome, within
from .stored import header, tensors, under

FULL_FORWARD, SAMPLING = 2e-5, 5e-5
_ADAPTER_ROOMS = ("ipa", "arcface_in", "siglip_in")
EVERYWHERE = Box(0.0, 0.0, 1.0, 1.0)


def full_model(path: Path) -> Iterator[Outcome]:
    add_comfyui()
    replay = _Replay(path)
    for case in replay.about["cases"]:
        yield within(case, replay.velocity(case), replay.stored[f"out.{case}"], FULL_FORWARD)
    for name, sampling in replay.about["sampling"].items():
        value = replay.sample(sampling["case"], replay.stored[f"sample.{name}.sigmas"])
        yield within(f"sampling {name}", value, replay.stored[f"sample.{name}.latent"], SAMPLING)


class _Replay:
    def __init__(self, path: Path) -> None:
        from ...withanyone_core.injection.comfyui.parts import ComfyAdapter
        from ..comfyui.small_flux import small_flux

        self.stored, self.about = tensors(path), header(path)
        weights = under("model.", self.stored)
        adapter = {key: value for key, value in weights.items() if key.startswith(_ADAPTER_ROOMS)}
        flux = {key: value for key, value in weights.items() if key not in adapter}
        sizes = {**self.about["config"], "in_channels": 16, "out_channels": 16}
        self.base = small_flux(sizes, flux)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "adapter.safetensors"
            save_file(adapter, file)
            self.adapter = ComfyAdapter.open(file)
            self.people = _people(path.with_name("id_inputs.safetensors"))
            self.patched = {case: self._apply(settings) for case, settings in self.about["cases"].items()}

    def velocity(self, case: str) -> Tensor:
        """Velocity tokens of one forward pass."""
        stored, patched = self.stored, self.patched[case]
        latent, sigma = stored["in.latent"], stored["in.timestep"]
        references = [stored["in.context_latent"]] if "in.context_latent" in stored else None
        patched.pre_run()
        try:
            denoised = patched.model.apply_model(
                latent,
                sigma,
                c_crossattn=stored["in.txt"],
                transformer_options={"wrappers": patched.wrappers, "cond_or_uncond": [0]},
                y=stored["in.y"],
                guidance=stored["in.guidance"],
                **({"ref_latents": references} if references else {}),
            )
        finally:
            patched.cleanup()
        velocity = (latent - denoised) / sigma
        return rearrange(velocity, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=2, pw=2)

    def sample(self, case: str, sigmas: Tensor) -> Tensor:
        """The latent that ComfyUI's Euler sampler ends with, before the latent format is undone."""
        import comfy.samplers

        stored, patched = self.stored, self.patched[case]
        extras = {"pooled_output": stored["in.y"], "guidance": stored["in.guidance"].item()}
        latent_format = patched.model.latent_format
        if "in.context_latent" in stored:
            extras["reference_latents"] = [latent_format.process_out(stored["in.context_latent"])]
        guider = comfy.samplers.CFGGuider(patched)
        guider.set_conds([[stored["in.txt"], extras]], [])
        noise = stored["in.latent"]
        euler = comfy.samplers.sampler_object("euler")
        sampled = guider.sample(noise, torch.zeros_like(noise), euler, sigmas.float(), disable_pbar=True, seed=0)
        return latent_format.process_in(sampled)

    def _apply(self, settings: dict | None) -> object:
        from ...withanyone_core.injection.comfyui.injection import Settings
        from ...withanyone_core.injection.comfyui.socket import apply_adapter

        if settings is None:
            return self.base.clone()
        width_px, height_px = self.about["image_px_WH"]
        boxes = settings["bboxes"] or [None] * len(settings["ids"])
        faces = [
            PlacedFace(self.people[row], Box.from_px(*box, width_px, height_px) if box else EVERYWHERE)
            for row, box in zip(settings["ids"], boxes, strict=True)
        ]
        weights = {Branch.ARC: settings["id_weight"], Branch.SIG: settings.get("siglip_weight", 0.0)}
        return apply_adapter(self.base, self.adapter, faces, Settings(weights))


def _people(path: Path) -> list[Identity]:
    stored = tensors(path)
    crop = torch.zeros(512, 512, 3)
    pairs = zip(stored["arcface_raw"], stored["siglip_last_hidden_state"], strict=True)
    return [Identity(f"person {row}", arcface, siglip, crop) for row, (arcface, siglip) in enumerate(pairs)]
