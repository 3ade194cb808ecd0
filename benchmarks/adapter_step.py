"""What the adapter costs at one sampling step.

Timed in one run: the adapter as the released program runs it (dense and masked), ours, and ComfyUI's FLUX.1 step
without and with ours. On a CUDA device the model has its 19 + 38 blocks in bfloat16; on a CPU one double and one single
block of full width in float32. Weights are random: time does not depend on them. Needs the test bed that
`bash test.sh` makes:

    .testbed/venv/bin/python benchmarks/adapter_step.py
"""

import argparse
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pack import add_comfyui, load_pack

load_pack()
add_comfyui()

import comfy.model_patcher
import torch
from random_adapter import RandomAdapter, Scene
from torch import Tensor
from withanyone_pack.tests.comfyui.small_flux import small_flux
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY, Injection
from withanyone_pack.withanyone_core.regions.layout import Box

FLUX = {"hidden_size": 3072, "num_heads": 24, "axes_dim": [16, 56, 56], "context_in_dim": 4096, "vec_in_dim": 768}
SIDE_PX, TEXT_TOKENS = 1024, 512
# Heads of 256 x 240 pixels: 240 of 4096 cells each, 5.9 % of the image.
HEADS_PX = [(64, 256, 320, 496), (704, 256, 960, 496), (384, 16, 640, 256), (384, 576, 640, 816)]


@dataclass(frozen=True)
class Machine:
    """What is run here: how many blocks, in which type, on which device."""

    device: torch.device
    dtype: torch.dtype
    doubles: int
    singles: int

    @classmethod
    def here(cls) -> "Machine":
        if torch.cuda.is_available():
            return cls(torch.device("cuda"), torch.bfloat16, 19, 38)
        return cls(torch.device("cpu"), torch.float32, 1, 1)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else _processor()
        return f"{name}, torch {torch.__version__}, {self.doubles} + {self.singles} blocks in {self.dtype}"

    def median_seconds(self, steps: Sequence[Callable[[], object]], repeats: int) -> list[float]:
        """The median of each; they run in turns, so that a machine that slows down slows all of them."""
        times: list[list[float]] = [[] for _ in steps]
        for index in range(repeats + 1):
            for step, taken in zip(steps, times, strict=True):
                started = self._now()
                step()
                if index:  # the first turn warms up
                    taken.append(self._now() - started)
        return [statistics.median(taken) for taken in times]

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


class FluxStep:
    """One call of ComfyUI's FLUX.1, without and with the adapter in its socket."""

    def __init__(self, machine: Machine, adapter: RandomAdapter, injection: Injection, compiled: bool) -> None:
        placed = {"dtype": machine.dtype, "device": machine.device}
        sizes = {**FLUX, "depth": machine.doubles, "depth_single_blocks": machine.singles}
        self.base = small_flux(sizes, dtype=machine.dtype)
        self.base.model.to(machine.device)
        self.patched = self.base.clone()
        attentions = [
            comfy.model_patcher.ModelPatcher(module, machine.device, machine.device)
            for module in adapter.attentions.values()
        ]
        self.patched.set_additional_models(KEY, attentions)
        self.patched.add_wrapper_with_key("apply_model", KEY, injection.apply_model)
        if compiled:
            self._compile(attentions)
        self.latent = torch.randn(1, 16, SIDE_PX // 8, SIDE_PX // 8, **placed)
        self.sigma = torch.full((1,), 0.7, device=machine.device)
        self.conditioning = {
            "c_crossattn": torch.randn(1, TEXT_TOKENS, FLUX["context_in_dim"], **placed),
            "y": torch.randn(1, FLUX["vec_in_dim"], **placed),
            "guidance": torch.full((1,), 4.0, **placed),
        }

    def __call__(self, patcher: comfy.model_patcher.ModelPatcher) -> Tensor:
        patcher.model.current_patcher = patcher
        options = {"wrappers": patcher.wrappers, "cond_or_uncond": [0]}
        return patcher.model.apply_model(self.latent, self.sigma, transformer_options=options, **self.conditioning)

    def _compile(self, attentions: list[comfy.model_patcher.ModelPatcher]) -> None:
        """Block by block, as training and inference programs do it: the socket stays outside."""
        model = self.base.model.diffusion_model
        for block in [*model.double_blocks, *model.single_blocks]:
            block.compile()
        for attention in attentions:
            for layer in attention.model:
                layer.compile()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="timed runs of each, of which the median is taken")
    parser.add_argument("--faces", type=int, default=2, choices=range(1, len(HEADS_PX) + 1))
    parser.add_argument("--compile", action="store_true", help="FLUX.1's blocks and the adapter's layers compiled")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)

    machine = Machine.here()
    boxes = tuple(Box.from_px(*head, SIDE_PX, SIDE_PX) for head in HEADS_PX[: arguments.faces])
    scene = Scene(SIDE_PX, TEXT_TOKENS, boxes)
    print(f"{date.today()}, {machine}")
    print(f"{SIDE_PX} x {SIDE_PX}, {arguments.faces} faces on {100 * scene.covered:.1f} % of the image, ", end="")
    print(f"median of {arguments.repeats}" + (", compiled" if arguments.compile else ""))
    adapter = RandomAdapter(scene, machine.doubles + machine.singles, machine.dtype, machine.device)
    injection = adapter.injection()
    dense_seconds, ours_seconds = compare_with_dense(machine, adapter, injection, arguments.repeats)
    step = FluxStep(machine, adapter, injection, arguments.compile)
    compare_with_flux(machine, step, dense_seconds, ours_seconds, arguments.repeats)
    print_memory(machine, adapter, injection)


def compare_with_dense(
    machine: Machine, adapter: RandomAdapter, injection: Injection, repeats: int
) -> tuple[float, float]:
    tokens = TEXT_TOKENS + (SIDE_PX // 16) ** 2
    stream = torch.randn(1, tokens, FLUX["hidden_size"], device=machine.device, dtype=machine.dtype)
    layers = adapter.dense_layers()
    ours, dense = adapter.sparse(injection, stream.clone()), adapter.dense(layers, stream)
    print(f"largest difference of ours from dense: {((ours - dense).abs().max() / dense.abs().max()).item():.1e}")
    steps = (lambda: adapter.dense(layers, stream), lambda: adapter.sparse(injection, stream.clone()))
    dense_seconds, ours_seconds = machine.median_seconds(steps, repeats)
    print(f"adapter, dense as released  {dense_seconds:9.4f} s")
    print(f"adapter, ours               {ours_seconds:9.4f} s   1/{dense_seconds / ours_seconds:.1f} of dense")
    return dense_seconds, ours_seconds


def compare_with_flux(
    machine: Machine, step: FluxStep, dense_seconds: float, ours_seconds: float, repeats: int
) -> None:
    plain, patched = machine.median_seconds((lambda: step(step.base), lambda: step(step.patched)), repeats)
    print(f"FLUX.1 step                 {plain:9.4f} s")
    print(f"FLUX.1 step with ours       {patched:9.4f} s   {100 * (patched / plain - 1):+.1f} %")
    print(f"adapter alone / FLUX.1 step: ours {100 * ours_seconds / plain:.1f} %, ", end="")
    print(f"dense {100 * dense_seconds / plain:.1f} %")


def print_memory(machine: Machine, adapter: RandomAdapter, injection: Injection) -> None:
    weights = [weight for module in adapter.attentions.values() for weight in module.parameters()]
    one_face = [people[0] for people in injection.keys_values.values()]
    print(f"resident while sampling, {machine.doubles + machine.singles} layers: ", end="")
    print(f"{_gigabytes(weights):.3f} GB and {_gigabytes(one_face):.3f} GB a face")


def _gigabytes(tensors: list[Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e9


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({torch.get_num_threads()} threads)"


if __name__ == "__main__":
    main()
