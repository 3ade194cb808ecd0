"""What the adapter costs at one sampling step.

Timed in one run: the adapter as the released program runs it (dense and masked), ours, and ComfyUI's FLUX.1 step
without and with ours. On a CUDA device the model has its 19 + 38 blocks in bfloat16; on a CPU one double and one single
block of full width in float32, with --small both are small too. Weights are random and made on the device: time does
not depend on them. Each --side with each number of --faces gives one table for FIGURES.md. Needs the test bed that
`bash test.sh` makes:

    .testbed/venv/bin/python benchmarks/adapter_step.py
"""

import argparse
import json
import logging
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from pack import load_pack

load_pack()
from withanyone_pack.tests.pack import add_comfyui  # the module that other stages of a rehearsal use too

add_comfyui()

import comfy.model_patcher
import torch
from card import TERA, Card, device_here, launches, matmul_rate, now
from comfy_api.torch_helpers import set_torch_compile_wrapper
from random_adapter import RandomAdapter, Scene
from random_flux import FLUX_1, random_flux
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from withanyone_pack.withanyone_core.injection.comfyui.injection import KEY, Injection
from withanyone_pack.withanyone_core.regions.layout import Box

SMALL = {**FLUX_1, "hidden_size": 128, "num_heads": 2, "axes_dim": [16, 24, 24], "context_in_dim": 64, "vec_in_dim": 64}
TEXT_TOKENS = 512
# Heads of 256 x 240 pixels of 1024 x 1024: 240 of 4096 cells each, 5.9 % of the image.
BOXES = tuple(
    Box.from_px(*head, 1024, 1024)
    for head in [(64, 256, 320, 496), (704, 256, 960, 496), (384, 16, 640, 256), (384, 576, 640, 816)]
)
EQUAL = {torch.bfloat16: 2e-2, torch.float32: 1e-5}  # ours from dense, of the largest value


@dataclass(frozen=True)
class Machine:
    """What is run here: how many blocks of which sizes, in which type, on which device."""

    device: torch.device
    dtype: torch.dtype
    sizes: dict[str, object]

    @classmethod
    def here(cls, small: bool) -> "Machine":
        device = device_here()
        sizes = SMALL if small else FLUX_1
        if small or device.type == "cpu":
            sizes = {**sizes, "depth": 1, "depth_single_blocks": 1}
        return cls(device, torch.bfloat16 if device.type == "cuda" else torch.float32, sizes)

    @property
    def layers(self) -> int:
        return self.sizes["depth"] + self.sizes["depth_single_blocks"]

    def __str__(self) -> str:
        blocks = f"{self.sizes['depth']} + {self.sizes['depth_single_blocks']} blocks"
        return f"{blocks} of width {self.sizes['hidden_size']} in {self.dtype}"

    def adapter(self, scene: Scene, **choices: object) -> RandomAdapter:
        heads = self.sizes["num_heads"]
        return RandomAdapter(scene, self.layers, self.dtype, self.device, self.sizes["hidden_size"], heads, **choices)

    def median_seconds(self, steps: Sequence[Callable[[], object]], repeats: int) -> list[float]:
        """The median of each; they run in turns, so that a machine that slows down slows all of them."""
        times: list[list[float]] = [[] for _ in steps]
        for index in range(repeats + 1):
            for step, taken in zip(steps, times, strict=True):
                started = now(self.device)
                step()
                if index:  # the first turn warms up
                    taken.append(now(self.device) - started)
        return [statistics.median(taken) for taken in times]


class FluxStep:
    """One call of ComfyUI's FLUX.1, without and with the adapter in its socket."""

    def __init__(
        self,
        machine: Machine,
        base: comfy.model_patcher.ModelPatcher,
        adapter: RandomAdapter,
        injection: Injection,
        compiled: str | None = None,
    ) -> None:
        placed = {"dtype": machine.dtype, "device": machine.device}
        self.base, self.patched = base.clone(), base.clone()
        attention = comfy.model_patcher.ModelPatcher(adapter.stacked, machine.device, machine.device)
        self.patched.set_additional_models(KEY, [attention])
        self.patched.add_wrapper_with_key("apply_model", KEY, injection.apply_model)
        cells = adapter.scene.side_px // 8
        self.latent = torch.randn(1, 16, cells, cells, **placed)
        self.sigma = torch.full((1,), 0.7, device=machine.device)
        self.conditioning = {
            "c_crossattn": torch.randn(1, TEXT_TOKENS, machine.sizes["context_in_dim"], **placed),
            "y": torch.randn(1, machine.sizes["vec_in_dim"], **placed),
            "guidance": torch.full((1,), 4.0, **placed),
        }
        with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counted:
            self(self.base)  # blocks may be compiled already, by the table before
        self.flops = counted.get_total_flops()
        if compiled == "model":
            for patcher in (self.base, self.patched):
                set_torch_compile_wrapper(patcher, backend="inductor")
        if compiled == "blocks":
            compile_blocks(base, attention)

    def __call__(self, patcher: comfy.model_patcher.ModelPatcher) -> Tensor:
        patcher.model.current_patcher = patcher
        options = {"wrappers": patcher.wrappers, "cond_or_uncond": [0]}
        return patcher.model.apply_model(self.latent, self.sigma, transformer_options=options, **self.conditioning)


def compile_blocks(base: comfy.model_patcher.ModelPatcher, attention: comfy.model_patcher.ModelPatcher) -> None:
    """Block by block, as training and inference programs do it: the socket stays outside."""
    model = base.model.diffusion_model
    for block in [*model.double_blocks, *model.single_blocks]:
        block.compile()
    for layer in attention.model:
        layer.compile()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="timed runs of each, of which the median is taken")
    parser.add_argument("--faces", type=int, nargs="+", default=[2], choices=range(1, len(BOXES) + 1))
    parser.add_argument("--side", type=int, nargs="+", default=[1024], help="of the square images in pixels")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="blocks",
        choices=["blocks", "model"],
        help="FLUX.1's blocks and the adapter's layers compiled, each alone; or the whole model as TorchCompileModel",
    )
    parser.add_argument("--small", action="store_true", help="small models: the numbers then say only that it runs")
    parser.add_argument("--json", type=Path, help="a file for the figures of all tables")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)

    torch.manual_seed(0)
    card, machine = Card.here(), Machine.here(arguments.small)
    base = random_flux(machine.sizes, machine.dtype, machine.device)
    rate = matmul_rate(machine.device, machine.dtype)
    tables = {}
    for side, faces in product(arguments.side, arguments.faces):
        title = f"{side} x {side}, {faces} faces, {arguments.compile or 'nothing'} compiled, {machine}"
        scene = Scene(side, TEXT_TOKENS, BOXES[:faces])
        tables[title] = measure(machine, base, scene, rate, arguments)
        print(card.table(f"{title}, median of {arguments.repeats}", tables[title]), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(tables, indent=1))


def measure(
    machine: Machine,
    base: comfy.model_patcher.ModelPatcher,
    scene: Scene,
    rate: float,
    arguments: argparse.Namespace,
) -> dict[str, str]:
    """Names and values of one table. Raises ValueError where ours is not what the dense adapter gives."""
    adapter = machine.adapter(scene)
    injection = adapter.injection()
    stream = random_stream(machine, scene)
    layers = adapter.dense_layers()
    difference = largest_difference(adapter, injection, layers, stream)
    if difference > EQUAL[machine.dtype]:
        raise ValueError(
            f"Ours differs from the dense adapter by {difference:.1e} of the largest value; expected at most "
            f"{EQUAL[machine.dtype]:.0e} in {machine.dtype}. No time of it means anything before that is repaired."
        )
    step = FluxStep(machine, base, adapter, injection, arguments.compile)
    dense, ours = machine.median_seconds(
        (lambda: adapter.dense(layers, stream), lambda: adapter.sparse(injection, stream.clone())), arguments.repeats
    )
    plain, patched = machine.median_seconds((lambda: step(step.base), lambda: step(step.patched)), arguments.repeats)
    kernels = [launches(lambda model=model: step(model), machine.device) for model in (step.base, step.patched)]
    weights = list(adapter.stacked.parameters())
    one_face = [people[0] for people in injection.keys_values.values()]
    return {
        "faces on": f"{100 * scene.covered:.1f} % of the image",
        "largest difference of ours from dense": f"{difference:.1e} of the largest value",
        "adapter, dense as released": f"{1e3 * dense:.2f} ms",
        "adapter, ours": f"{1e3 * ours:.2f} ms, 1/{dense / ours:.1f} of dense",
        "FLUX.1 step": f"{1e3 * plain:.2f} ms, {100 * step.flops / rate / plain:.1f} % of the matmul rate",
        "FLUX.1 step with ours": f"{1e3 * patched:.2f} ms, {100 * (patched / plain - 1):+.1f} %",
        "adapter alone / FLUX.1 step": f"ours {100 * ours / plain:.1f} %, dense {100 * dense / plain:.1f} %",
        "launches of a step": f"{kernels[0]} without, {kernels[1]} with ours",
        "measured matmul rate": f"{rate / TERA:.3f} TFLOP/s ({machine.dtype})",
        "resident while sampling": f"{_gigabytes(weights):.3f} GB and {_gigabytes(one_face):.3f} GB a face",
    }


def random_stream(machine: Machine, scene: Scene) -> Tensor:
    tokens = scene.text_tokens + (scene.side_px // 16) ** 2
    return torch.randn(1, tokens, machine.sizes["hidden_size"], device=machine.device, dtype=machine.dtype)


def largest_difference(adapter: RandomAdapter, injection: Injection, layers: list, stream: Tensor) -> float:
    """Of ours from dense, of the largest value of dense."""
    ours, dense = adapter.sparse(injection, stream.clone()), adapter.dense(layers, stream)
    return ((ours - dense).abs().max() / dense.abs().max()).item()


def _gigabytes(tensors: list[Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e9


if __name__ == "__main__":
    main()
