"""The stages of gpu_rehearsal.py that are no other benchmark and no tests, each in a process of its own."""

import argparse
import csv
import json
import logging
import math
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "training")]
from pack import load_pack

load_pack()
from withanyone_pack.tests.pack import add_comfyui  # the module that training's tests use too

add_comfyui()

import torch
from card import TERA, Card, device_here, matmul_rate, now
from safetensors.torch import save_file

GIB = 2**30
Figures = dict[str, str]


def check_imports(device: torch.device, is_small: bool) -> Figures:
    """That everything which the later stages need is there, and what the device can do."""
    names = ["comfy.model_management", "diffusers", "accelerate", "peft", "transformers", "pydantic", "safetensors"]
    names += ["bitsandbytes", "triton"] if device.type == "cuda" else []
    versions = {name.split(".")[0]: getattr(import_module(name), "__version__", "there") for name in names}
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return {**versions, "matmul rate": f"{matmul_rate(device, dtype) / TERA:.3f} TFLOP/s ({dtype})"}


@torch.inference_mode()
def find_waits(device: torch.device, is_small: bool) -> Figures:
    """Host syncs of a step, without and with people; ValueError for one that people bring."""
    from adapter_step import BOXES, TEXT_TOKENS, FluxStep, Machine
    from random_adapter import Scene
    from random_flux import random_flux

    machine = Machine.here(is_small)
    adapter = machine.adapter(Scene(128 if is_small else 1024, 16 if is_small else TEXT_TOKENS, BOXES[:2]))
    step = FluxStep(machine, random_flux(machine.sizes, machine.dtype, device), adapter, adapter.injection())
    step(step.patched)  # a run's first step brings keys and values to the device
    plain, patched = (waits_of(lambda model=model: step(model), device) for model in (step.base, step.patched))
    brought = patched - plain
    if brought:
        raise ValueError(f"A step with people waits for the device where one without does not: {dict(brought)}")
    return {
        "host syncs of a step": f"{plain.total()} without, {patched.total()} with people",
        "places": ", ".join(plain) or "none",
    }


def waits_of(step: Callable[[], object], device: torch.device) -> Counter:
    """Where the CPU waits for the device in a step: lines on CUDA, operations on a CPU."""
    from host_reads import HostReads

    if device.type != "cuda":
        with HostReads() as reads:
            step()
        return Counter(reads.found)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Counter(f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message))


def check_compiled(device: torch.device, is_small: bool) -> Figures:
    """Images of a compiled model while weights, people, boxes and windows change; ValueError for a wrong one."""
    from comfy.ldm.modules.attention import attention_pytorch
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from rehearsal_models import models
    from torch._dynamo.utils import counters
    from withanyone_pack.tests.comfyui.sampling import applied, difference, noise, person, prompt, sample, two_faces
    from withanyone_pack.withanyone_core.adapter.shape import Branch
    from withanyone_pack.withanyone_core.regions.layout import Box
    from withanyone_pack.withanyone_core.timing import Window

    with tempfile.TemporaryDirectory() as folder:
        base, adapter, cells = models(Path(folder), device, is_small)
        if device.type == "cpu":  # ComfyUI's choice for CPUs reads /proc and breaks the graph
            attention = {"optimized_attention_override": lambda _, *args, **kwargs: attention_pytorch(*args, **kwargs)}
            base.model_options["transformer_options"].update(attention)
        one, two = two_faces()
        rows = {
            "people": applied(base, adapter),
            "weights": applied(base, adapter, weights={Branch.ARC: 0.9, Branch.SIG: 0.1}),
            "other people": applied(
                base, adapter, (replace(one, identity=person(7)), replace(two, identity=person(8)))
            ),
            "boxes": applied(base, adapter, (replace(one, region=Box(0.5, 0.1, 0.9, 0.4)), two)),
            "window": applied(base, adapter, window=Window(0.0, 0.5)),
        }
        given = {"start": noise(0, 1, cells, cells), "sigmas": (1.0, 0.4, 0.0)}
        text = prompt(0, 16 if is_small else 512)
        eager = {name: sample(model, text, **given) for name, model in rows.items()}
        counters.clear()
        figures, graphs = {}, []
        for name, model in rows.items():
            compiled = model.clone()
            set_torch_compile_wrapper(compiled, backend="eager" if is_small else "inductor")
            out = sample(compiled, text, **given)
            graphs.append(counters["stats"]["unique_graphs"])
            own = difference(out, eager[name])
            nearest = min(difference(out, other) for key, other in eager.items() if key != name)
            figures[name] = f"{own:.1e} from its eager image, {nearest:.1e} from the nearest other"
            if own > nearest / 2:
                raise ValueError(f"The compiled image with changed {name} is wrong: {figures[name]}")
    return {**figures, "graphs": f"{graphs[0]} for the first image, {graphs[-1]} after the last"}


def time_adapter_file(device: torch.device, is_small: bool) -> Figures:
    """Writing, reading and applying an adapter file of full size: as stored, as fp8, and with a LoRA changed."""
    from random_flux import random_flux
    from rehearsal_models import FULL, SMALL, shapes, write_adapter
    from withanyone_pack.tests.comfyui.sampling import applied
    from withanyone_pack.withanyone_core.adapter.lora import read_lora
    from withanyone_pack.withanyone_core.adapter.shape import Branch
    from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    base = random_flux(SMALL if is_small else FULL, dtype, torch.device("meta"))  # Apply only looks at its sizes
    base.load_device, base.offload_device = device, torch.device("cpu")
    sizes, figures = shapes(is_small), {}
    with tempfile.TemporaryDirectory() as folder:
        path, lora = Path(folder) / "adapter.safetensors", Path(folder) / "lora.safetensors"
        _, figures["writing"] = timed(lambda: write_adapter(path, sizes, dtype, device), device)
        figures["file"] = f"{path.stat().st_size / 1e9:.3f} GB"
        save_file(adapter_lora(sizes[Branch.ARC].hidden, sizes[Branch.ARC].inner, dtype), lora)
        stored, figures["reading the header"] = timed(lambda: ComfyAdapter.open(path), device)
        _, figures["Apply, as stored"] = timed(lambda: applied(base, stored), device)
        figures["Apply, computed peak"] = f"{apply_bytes(sizes, dtype) / GIB:.3f} GiB"
        _, figures["Apply again, same people"] = timed(lambda: applied(base, stored), device)
        fp8 = ComfyAdapter.open(path, fp8=True)
        _, figures["Apply, fp8"] = timed(lambda: applied(base, fp8), device)
        for strength in (1.0, 0.5):
            changed = stored.with_lora(read_lora(lora, stored.file, strength))
            _, figures[f"Apply, LoRA at {strength}"] = timed(lambda changed=changed: applied(base, changed), device)
    return figures


def adapter_lora(hidden: int, inner: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Rank 16 on a matrix of the encoder and on one of the attention."""
    factors = {"to_kv": (2 * inner, hidden), "to_q": (inner, hidden)}
    return {
        f"ipa_arc.0.{name}.{half}.weight": 0.01 * torch.randn(size, dtype=dtype)
        for name, (out, entered) in factors.items()
        for half, size in (("lora_A", (16, entered)), ("lora_B", (out, 16)))
    }


def apply_bytes(sizes: dict, dtype: torch.dtype) -> int:
    """What Apply needs on the device at once: the larger encoder, and its largest matrix as float32 beside it."""
    from withanyone_pack.withanyone_core.adapter.keys import part_shapes

    numbers = [[math.prod(size) for size in part_shapes(shape, "encoder").values()] for shape in sizes.values()]
    return max(sum(counts) * dtype.itemsize + 4 * max(counts) for counts in numbers)


def timed(run: Callable[[], object], device: torch.device) -> tuple[object, str]:
    """What a call gives, and its seconds and memory as text."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = now(device)
    out = run()
    words = f"{now(device) - started:.2f} s"
    return out, words + (f", peak {torch.cuda.max_memory_allocated() / GIB:.3f} GiB" if device.type == "cuda" else "")


def resume_finetune(device: torch.device, is_small: bool) -> Figures:
    """Steps of training's own loop, stopped half way and resumed; ValueError where it does not resume or diverges."""
    from withanyone_pack.tests.training.small_cache import small_cache
    from withanyone_pack.tests.training.small_trainer import small_frozen, small_trainer

    from training.loop.train import train

    steps = 2 if is_small else 20
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    changes = ["optim.batch_size=1", "save.every_steps=1000", "validation.every_steps=1000"]
    changes += ["train.mode=lora", "train.rank=16"]
    changes += ["memory.gradient_checkpointing=true", f"base.precision={'fp32' if device.type == 'cpu' else 'bf16'}"]
    with tempfile.TemporaryDirectory() as folder:
        frozen = small_frozen() if device.type == "cpu" else frozen_models(device, is_small)
        for last in (steps // 2, steps):
            photos = small_cache(size_px=64 if is_small else 512)
            given = {"frozen": frozen, "device": device, "dtype": dtype, "photos": photos}
            trainer = small_trainer(Path(folder), *changes, f"optim.steps={last}", **given)
            first = trainer.state.progress.step
            train(trainer)
            trainer.close()
        rows = list(csv.DictReader((Path(folder) / "metrics.csv").open()))
    losses = [float(row["loss"]) for row in rows]
    if first != steps // 2 or len(rows) != steps or not all(map(math.isfinite, losses)):
        raise ValueError(f"The second half began at step {first} of {steps}; losses {losses}")
    return {
        "steps": f"{steps}, resumed at {first}",
        "seconds a step": rows[-1]["s_per_step"],
        "peak GiB": rows[-1]["memory_gib"] or "not measured on a CPU",
        "losses": ", ".join(f"{loss:.4f}" for loss in losses),
    }


def frozen_models(device: torch.device, is_small: bool) -> object:
    """FLUX.1, VAE and recognizer of random weights on the device."""
    from withanyone_pack.tests.training.small_cache import POOLED_WIDTH, T5_WIDTH
    from withanyone_pack.tests.training.small_iresnet import iresnet
    from withanyone_pack.tests.training.small_trainer import settings_of

    # After small_trainer, which makes `training` importable.
    from train_models import FULL, SMALL, random_base, random_module  # isort: skip
    from training.loop.step import FrozenModels  # isort: skip
    from training.base.flux1 import LatentScale  # isort: skip

    size = replace(SMALL if is_small else FULL, text_width=T5_WIDTH, pooled=POOLED_WIDTH)
    settings = settings_of("unused", "memory.gradient_checkpointing=true", "base.precision=bf16")
    transformer = random_base(size, settings, device, torch.bfloat16)
    recognizer = iresnet(size.units, size.widths, 512).to(device).requires_grad_(False)
    vae = random_module(size.vae, device, torch.bfloat16)
    return FrozenModels(transformer, vae, LatentScale(), lambda crops: recognizer((crops - 127.5) / 127.5))


STAGES: dict[str, Callable[[torch.device, bool], Figures]] = {
    "imports": check_imports,
    "waits": find_waits,
    "compiled": check_compiled,
    "adapter": time_adapter_file,
    "finetune": resume_finetune,
}


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--small", action="store_true", help="small models on a CUDA device too")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args(given)
    logging.getLogger().setLevel(logging.WARNING)
    device = device_here()
    figures = STAGES[arguments.stage](device, arguments.small or device.type == "cpu")
    print(Card.here().table(arguments.stage, figures))
    if arguments.json:
        arguments.json.write_text(json.dumps({arguments.stage: figures}, indent=1))


if __name__ == "__main__":
    main()
