"""The device a benchmark runs on, what it could do, and the one table that every benchmark prints of it."""

import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

TERA = 1e12
MATMUL = 8192  # side of the matrices that measure a GPU; 1024 on a CPU
_VIEWS = {"view", "_unsafe_view", "slice", "select", "transpose", "permute", "expand", "unsqueeze", "squeeze"}
_VIEWS |= {"split", "t", "alias", "detach"}


@dataclass(frozen=True)
class Card:
    """A device by name, with the versions that a figure depends on."""

    name: str
    driver: str
    torch_version: str
    cuda_version: str

    @classmethod
    def here(cls) -> "Card":
        if not torch.cuda.is_available():
            return cls(processor(), "no GPU", torch.__version__, "no CUDA")
        return cls(torch.cuda.get_device_name(), f"driver {_driver()}", torch.__version__, f"CUDA {torch.version.cuda}")

    def __str__(self) -> str:
        return f"{self.name}, {self.driver}, torch {self.torch_version}, {self.cuda_version}"

    def table(self, title: str, figures: Mapping[str, object]) -> str:
        """A table for FIGURES.md: the device and the date at its head, a figure a row."""
        rows = [f"| {name} | {value} |" for name, value in figures.items()]
        return "\n".join([f"| {self}; {title}; {date.today()} | |", "|---|---|", *rows, ""])


def device_here() -> torch.device:
    """As ComfyUI names it, with its number: to it `cuda` and `cuda:0` are two devices."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the best of ten products of large square matrices."""
    side = MATMUL if device.type == "cuda" else 1024
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    times = []
    for _ in range(10):
        started = now(device)
        left @ right
        times.append(now(device) - started)
    return 2 * side**3 / min(times)


def now(device: torch.device | None) -> float:
    """Seconds, once the device has done all that was asked of it."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def launches(step: Callable[[], object], device: torch.device) -> int:
    """Kernels that a step launches; on a CPU the operations that would each launch at least one."""
    if device.type != "cuda":
        with _Operations() as counted:
            step()
        return counted.count
    step()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        step()
        torch.cuda.synchronize()
    return sum(event.count for event in profile.key_averages() if "LaunchKernel" in event.key)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({torch.get_num_threads()} threads)"


class _Operations(TorchDispatchMode):
    """Counts what is computed; views cost nothing on a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: torch._ops.OpOverload, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        self.count += function.overloadpacket.__name__ not in _VIEWS
        return function(*args, **(kwargs or {}))


def _driver() -> str:
    """As nvidia-smi tells it; torch knows CUDA's version only."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.splitlines()[0].strip() if said.strip() else "unknown"
