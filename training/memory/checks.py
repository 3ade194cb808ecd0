"""Every file and device that a run needs, looked at one after the other: a fault in one does not hide the next."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.injection.diffusers import AdapterSocket

from ..base.registry import family_named
from ..base.transformer import read_architecture
from ..base.vae import load_vae
from ..configuration.finetune import Finetune
from ..loop.build import check_models, check_widths, device_name, load_judges
from ..loop.checkpoints import checkpoints, step_of
from ..loop.optimizer import optimizer_class
from ..loop.prompt_texts import encoder_paths, missing_texts
from ..loop.prompts import planned
from ..loop.sampling import Sources
from ..losses.arcface import Recognizer
from .dry_run import DummyModels
from .dummy_models import make_dummy_models, phases_of
from .peak import GIB, state_bytes


@dataclass(frozen=True)
class Finding:
    """What was looked at and what was found; `fault`: training would not start with it."""

    what: str
    found: str
    fault: bool = False


@dataclass(frozen=True, eq=False)
class CheckResults:
    """All findings; without a fault also the dummy models of the run."""

    findings: tuple[Finding, ...]
    sources: Sources | None = None
    models: DummyModels | None = None

    @property
    def is_sound(self) -> bool:
        return not any(finding.fault for finding in self.findings)


def run_checks(settings: Finetune) -> CheckResults:
    """Looks at everything, with the checks of `build_trainer`. Nothing is written."""
    sources = Sources(torch.device("cpu"))
    findings = [_finding(what, check) for what, check in _checks(settings, sources)]
    if any(finding.fault for finding in findings):
        return CheckResults(tuple(findings))
    made: list[DummyModels] = []
    findings.append(_finding("models together", lambda: _fit(settings, sources, made)))
    if made:
        findings.append(_finding("run folder", lambda: _run_folder(settings, made[0])))
    return CheckResults(tuple(findings), sources, made[0] if made else None)


def _finding(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, check())
    except (ValueError, RuntimeError, OSError) as error:
        return Finding(what, str(error), fault=True)


def _checks(settings: Finetune, sources: Sources) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "device", lambda: _device(settings)
    yield "optimizer", lambda: optimizer_class(settings.optim).__name__
    yield "base model", lambda: _base(settings)
    yield "VAE", lambda: _vae(settings)
    yield "adapter", lambda: _adapter(settings)
    if (recognizer := settings.id_loss.recognizer) is not None:
        yield "recognizer", lambda: f"{Recognizer.load(recognizer).name}, differentiable"
    for part in {part.data.cache: part for part in phases_of(settings)}.values():
        yield "prepared photos", lambda part=part: _photos(part, sources)
    yield "photos and models", lambda: _same_models(settings, sources)
    if settings.validation.prompts:
        yield "prompts", lambda: _prompts(settings, sources)
    if settings.validation.judges:
        yield "judges", lambda: _judges(settings)


def _device(settings: Finetune) -> str:
    if device_name(settings) == "cpu":
        return "CPU"
    total = torch.cuda.get_device_properties(0).total_memory
    return f"{torch.cuda.get_device_name()}, {free_bytes() / GIB:.1f} of {total / GIB:.1f} GiB free"


def free_bytes() -> int:
    """What other programs leave of the card: a screen and a browser take one of 12 GiB.

    The context of this process is counted as taken, which errs on the safe side.
    """
    return torch.cuda.mem_get_info()[0]


def _base(settings: Finetune) -> str:
    architecture = read_architecture(settings.base.path)
    sizes = architecture.arguments
    width = sizes["attention_head_dim"] * sizes["num_attention_heads"]
    return (
        f"{settings.base.path.name}: {architecture.family.label} of {sizes['num_layers']} + "
        f"{sizes['num_single_layers']} blocks, "
        f"width {width}"
    )


def _vae(settings: Finetune) -> str:
    path = settings.base.vae or settings.base.path
    vae, _ = load_vae(path, torch.bfloat16)
    return f"{path.name}: {vae.config['latent_channels']} latent channels"


def _adapter(settings: Finetune) -> str:
    if settings.adapter.init is None:
        return f"fresh weights, {settings.adapter.branch}"
    file = inspect_adapter(settings.adapter.init)
    held = " and ".join(branch.value for branch in file.shapes)
    return f"{file.path.name}: {held}, for {next(iter(file.shapes.values())).layers} blocks"


def _photos(settings: Finetune, sources: Sources) -> str:
    cache = sources.at(settings).cache
    held_out = sum(image.held_out for image in cache.images)
    return (
        f"{settings.data.cache}: {len(cache.images)} photos of {len(cache.identities)} people, {held_out} held out, "
        f"{len(cache.negatives.embeddings)} negatives"
    )


def _same_models(settings: Finetune, sources: Sources) -> str:
    check_models(settings, sources)
    return "prepared with these files"


def _prompts(settings: Finetune, sources: Sources) -> str:
    cache = sources.at(settings).cache
    plans, missing = planned(settings, cache), missing_texts(settings, cache)
    if not missing:
        return f"{len(plans)}, their texts are encoded"
    paths = encoder_paths(settings.validation, cache)
    encoders = [paths[name].name for name in family_named(cache.base).text_settings]
    return f"{len(plans)}, to be encoded by {' and '.join(encoders)}"


def _judges(settings: Finetune) -> str:
    # The judges' cache lies in the run's folder, which must not come to be here.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        load_judges(settings.model_copy(update={"out": Path(folder)}))
    return ", ".join(path.name for path in settings.validation.judges)


def _fit(settings: Finetune, sources: Sources, made: list[DummyModels]) -> str:
    """Puts them together without data."""
    cache = sources.at(settings).cache
    models = make_dummy_models(settings, cache)
    check_widths(cache, models.frozen)
    AdapterSocket(models.frozen.transformer, models.adapter.network, models.weights).remove()
    made.append(models)
    return "base model, adapter and prepared photos fit each other"


def _run_folder(settings: Finetune, models: DummyModels) -> str:
    """Where the run writes, and whether there is space: each checkpoint keeps weights, states and averages."""
    out = settings.out
    # The folder need not exist yet; its nearest parent tells.
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK):
        raise ValueError(f"{there} cannot be written to; name another folder (out=...).")
    weights = 4 * sum(parameter.numel() for parameter in models.adapter.trained)
    # Weights and their average in float32, the optimizer's states, and the result in bf16.
    size = (
        weights * (2 if settings.optim.ema else 1) + state_bytes(models.adapter.trained, settings.optim) + weights // 2
    )
    # Two more than are kept: the best one, and the new one, which is written before an old one is deleted.
    needed, free = (settings.save.keep + 2) * size, shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            f"{there} has {free / GIB:.1f} GiB free, and {settings.save.keep + 2} checkpoints take "
            f"{needed / GIB:.1f} GiB. Make room, or lower save.keep."
        )
    found = checkpoints(out)
    resumed = f"; resumes from step {step_of(found[-1])}" if found else ""
    return f"{out}: {size / GIB:.2f} GiB a checkpoint, {free / GIB:.0f} GiB free{resumed}"
