"""FLUX.1 with people on a card of which only a part may be used, as smaller cards have it.

ComfyUI is set to leave the rest of the card alone, and torch refuses whatever goes beyond. FLUX.1 of full size, the
adapter from a file, two people, 1024 x 1024, two steps of ComfyUI's sampler; on a CPU all of it is small.

    .testbed/venv/bin/python benchmarks/small_card.py --gib 12
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pack import add_comfyui, load_pack

load_pack()
add_comfyui()

import torch
from card import Card, device_here, now
from comfy.cli_args import args as comfyui

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=int, default=12, help="of memory that the card may have")
    parser.add_argument("--small", action="store_true", help="small models on a CUDA device too")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    device = device_here()
    if device.type == "cuda":  # before ComfyUI's memory management is imported, which reads it once
        comfyui.reserve_vram = max(1.0, torch.cuda.get_device_properties(0).total_memory / GIB - arguments.gib)
    figures = sampled(device, arguments.gib, arguments.small or device.type == "cpu")
    title = f"FLUX.1 with two people in {arguments.gib} GiB"
    print(Card.here().table(title, figures))
    if arguments.json:
        arguments.json.write_text(json.dumps({title: figures}, indent=1))


def sampled(device: torch.device, gib: int, is_small: bool) -> dict[str, str]:
    """Seconds and memory of sampling through ComfyUI's own sampler, which decides what of FLUX.1 is on the device."""
    from rehearsal_models import models
    from withanyone_pack.tests.comfyui.sampling import applied, noise, prompt, sample

    with tempfile.TemporaryDirectory() as folder:
        base, adapter, cells = models(Path(folder), device, is_small, offload=torch.device("cpu"))
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(gib * GIB / torch.cuda.get_device_properties(0).total_memory)
            torch.cuda.reset_peak_memory_stats()
        started = now(device)
        patched = applied(base, adapter)
        applying, started = now(device) - started, now(device)
        out = sample(patched, prompt(0, 16 if is_small else 512), start=noise(0, 1, cells, cells), sigmas=(1.0, 0.5, 0))
        seconds = now(device) - started
    if not out.isfinite().all():
        raise ValueError(f"The image made in {gib} GiB holds NaN or infinite values.")
    peak = f"{torch.cuda.max_memory_allocated() / GIB:.2f} GiB" if device.type == "cuda" else "not measured on a CPU"
    return {"Apply": f"{applying:.2f} s", "two steps": f"{seconds:.2f} s", "peak of tensors": peak}


if __name__ == "__main__":
    main()
