"""Which golden file is replayed by what."""

import json
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

from . import boxes, comfyui_flux, data_geometry, diffusers_flux, images, losses, metrics, network, schedules
from .report import Outcome, print_file, print_total, skipped

Replay = Callable[[Path], Iterable[Outcome]]

REPLAYS: dict[str, Replay] = {
    "a_projectors.safetensors": lambda path: network.projectors(path.parent),
    "b_double_block_ip.safetensors": network.block,
    "c_single_block_ip.safetensors": network.block,
    "checkpoint_keys.json": lambda path: network.checkpoint_keys(json.loads(path.read_text())),
    "d_full_*.safetensors": lambda path: chain(comfyui_flux.full_model(path), diffusers_flux.full_model(path)),
    "e_bbox_masks.json": boxes.masks,
    "e_bbox_helpers.json": boxes.helpers,
    "f_sigma_schedules.safetensors": schedules.sigmas,
    "g_images.json": images.crops,
    "g_siglip_tiny.safetensors": images.siglip,
    "copypaste.json": metrics.copy_paste,
    "bench_stats.json": metrics.bench_stats,
    "timesteps.json": losses.timesteps,
    "flow.json": losses.flow,
    "infonce.json": losses.info_nce,
    "idloss.json": losses.identity_loss,
    "align.json": losses.align,
    "gt_aligned.json": losses.gt_aligned,
    "masks.json": losses.masks,
    "adapter_keys.json": losses.adapter_keys,
    "negpool.json": losses.negative_pool,
    "data_geometry.json": data_geometry.data_geometry,
}
# Read by the replays above.
COMPANIONS = {
    "README.md",
    "manifest.json",
    "id_inputs.safetensors",
    "e_bbox_masks.safetensors",
    "f_sigma_schedules.json",
    "copypaste.safetensors",
    *(
        f"{name}.safetensors"
        for name in ("timesteps", "flow", "infonce", "idloss", "align", "gt_aligned", "masks", "negpool")
    ),
}


def replay(folder: Path) -> int:
    """Replays every file of the folder, prints what was found and returns the exit status."""
    outcomes: list[Outcome] = []
    for path in sorted(folder.iterdir()):
        if path.name in COMPANIONS or path.suffix == ".png":
            continue
        found = list(_replay_of(path.name)(path))
        print_file(path.name, found)
        outcomes += found
    return 0 if print_total(outcomes) else 1


def _replay_of(name: str) -> Replay:
    known = (run for pattern, run in REPLAYS.items() if fnmatch(name, pattern))
    return next(known, lambda _: [skipped("file", "no code replays it yet")])
