"""Replays of whole small models on diffusers' own FLUX.1 class, through the socket that training uses."""

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..training.rooms import add_training
from .report import Outcome, not_applicable, within
from .stored import header, tensors, under

FULL_FORWARD = 2e-5
_ADAPTER_ROOMS = ("ipa", "arcface_in", "siglip_in")
AXES = (
    "rotary axes {} are in no tensor; a file of this size is read as {}, the fractions of FLUX.1 and of the miniature"
)


def full_model(path: Path) -> Iterator[Outcome]:
    if find_spec("diffusers") is None:
        yield not_applicable("diffusers", "it is not installed; only training needs it")
        return
    add_training()
    replay = _Replay(path)
    axes = tuple(replay.flux.config.axes_dims_rope)
    if axes != tuple(replay.about["config"]["axes_dim"]):
        yield not_applicable("diffusers", AXES.format(replay.about["config"]["axes_dim"], list(axes)))
        return
    for case, settings in replay.about["cases"].items():
        yield within(f"{case} in diffusers", replay.velocity(settings), replay.stored[f"out.{case}"], FULL_FORWARD)


class _Replay:
    def __init__(self, path: Path) -> None:
        from training.base.transformer import load_transformer
        from withanyone_core.adapter.checkpoint import inspect_adapter
        from withanyone_core.adapter.network import AdapterNetwork

        self.stored, self.about = tensors(path), header(path)
        self.people = tensors(path.with_name("id_inputs.safetensors"))
        weights = under("model.", self.stored)
        adapter = {key: value for key, value in weights.items() if key.startswith(_ADAPTER_ROOMS)}
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder) / "adapter.safetensors", Path(folder) / "flux.safetensors"
            save_file(adapter, files[0])
            save_file({key: value for key, value in weights.items() if key not in adapter}, files[1])
            self.file = inspect_adapter(files[0])
            self.adapter = AdapterNetwork.load(self.file)
            self.flux = load_transformer(files[1], torch.float32)

    @torch.no_grad()
    def velocity(self, settings: dict | None) -> Tensor:
        from withanyone_core.injection.diffusers import AdapterSocket

        stored = self.stored
        image = stored["in.img_tokens"]
        context = stored.get("in.context_tokens", image[:, :0])
        ids = stored.get("in.img_and_context_ids", stored.get("in.img_ids"))[0]
        socket = AdapterSocket(self.flux, self.adapter, self._weights(settings))
        with socket.placed(self._people(settings, image.shape[1] + context.shape[1])):
            velocity = self.flux(
                hidden_states=torch.cat([image, context], dim=1),
                encoder_hidden_states=stored["in.txt"],
                pooled_projections=stored["in.y"],
                timestep=stored["in.timestep"],
                img_ids=ids,
                txt_ids=torch.zeros(stored["in.txt"].shape[1], 3),
                guidance=stored["in.guidance"],
            ).sample
        socket.remove()
        return velocity[:, : image.shape[1]]

    def _weights(self, settings: dict | None) -> dict:
        from withanyone_core.adapter.shape import Branch

        known = {Branch.ARC: "id_weight", Branch.SIG: "siglip_weight"}
        return {branch: settings[known[branch]] for branch in self.adapter.shapes} if settings else {}

    def _people(self, settings: dict | None, tokens: int) -> object | None:
        from withanyone_core.injection.placed_people import PlacedPeople, members
        from withanyone_core.regions.layout import Box

        if settings is None:
            return None
        width_px, height_px = self.about["image_px_WH"]
        boxes = settings["bboxes"] or [[0, 0, width_px, height_px]] * len(settings["ids"])
        places = [Box.from_px(*box, width_px, height_px) for box in boxes]
        seen = members([places], width_px, height_px, self.file.truncates_boxes)
        # The tokens of a reference image follow those of the canvas and belong to nobody.
        seen = torch.nn.functional.pad(seen, (0, tokens - seen.shape[-1]))
        people = (self.people[name][settings["ids"]][None] for name in ("arcface_raw", "siglip_last_hidden_state"))
        return PlacedPeople(next(people), seen, next(people))
