"""The trainable part of an adapter (all of it, LoRA, own tokens), and how it becomes a file again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from withanyone_core.adapter.base import METADATA_KEY, base_of
from withanyone_core.adapter.checkpoint import AdapterFile, inspect_adapter
from withanyone_core.adapter.network import AdapterNetwork, check_branches, parameter_key
from withanyone_core.adapter.shape import HEAD_DIM, Branch, BranchShape
from withanyone_core.base_models.base_model import BaseModel
from withanyone_core.base_models.flux1 import FLUX_1
from withanyone_core.identities.identity_file import file_content

from ..configuration.finetune import AdapterSettings, TrainSettings
from .draws import Draws
from .own_tokens import Person, by_branch, started_tokens, with_tokens

_BRANCHES: Mapping[str, tuple[Branch, ...]] = {
    "arc": (Branch.ARC,),
    "sig": (Branch.SIG,),
    "both": (Branch.ARC, Branch.SIG),
}
_LORA = "default"  # peft's name for the one update we add


@dataclass(frozen=True)
class Sizes:
    """What an adapter must fit: widths of the base model, the face embeddings and the SigLIP tokens, and blocks.

    base  the family of the base model
    """

    hidden: int
    layers: int
    embedding: int
    siglip_width: int | None
    base: BaseModel = FLUX_1


@dataclass(frozen=True, eq=False)
class TrainableAdapter:
    """An adapter in training.

    network     on the training device; only trained parameters have `requires_grad`
    file        the file it started from, None for fresh weights
    parameters  what is trained, float32, by its name in the result: an adapter's key, a LoRA's, or an identity's
    alpha       of the LoRA, None where the weights themselves are trained
    weights     output weight of each branch
    person      whose own tokens are trained, None where the adapter is
    base        the base model that it is trained on
    """

    network: AdapterNetwork
    file: AdapterFile | None
    parameters: Mapping[str, nn.Parameter]
    alpha: float | None
    weights: Mapping[Branch, float]
    person: Person | None = None
    base: BaseModel = FLUX_1

    @property
    def learned(self) -> Mapping[Branch, Tensor]:
        """The parameters that stand in place of what the adapter makes of `person`, by branch."""
        return by_branch(self.parameters)

    @property
    def layout(self) -> Literal["dual", "single"]:
        return "dual" if self.file is None else self.file.layout

    @property
    def stored_dtype(self) -> torch.dtype:
        """What the result is stored in: the type of the file it started from."""
        return torch.bfloat16 if self.file is None else self.file.dtype

    def content(self, values: Mapping[str, Tensor], step: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and header of a result file of so many steps, from values of `parameters` or from their averages.

        An identity's file, or what `result` gives. Raises IdentityFileError (a ValueError) for values that are NaN
        or infinite.
        """
        if self.person is not None:
            if self.file is None:
                raise ValueError("A person's tokens are read by one adapter, and this one has no file.")
            return file_content(with_tokens(self.person, values, self.file, step))
        return self.result(values), {"format": "pt", "withanyone.step": str(step), METADATA_KEY: self.base.name}

    def result(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a trained adapter on the CPU: a LoRA, or branches in the names and the type of a file."""
        if self.alpha is not None:
            tensors = {key: value.detach().to("cpu", self.stored_dtype) for key, value in values.items()}
            targets = {key.rsplit(".", 2)[0] for key in values}
            return tensors | {f"{target}.alpha": torch.tensor(self.alpha) for target in sorted(targets)}
        whole = {parameter_key(name, self.layout): value for name, value in self.network.state_dict().items()}
        return {
            key: values.get(key, value).detach().to("cpu", self.stored_dtype).contiguous()
            for key, value in whole.items()
        }

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Puts values into `parameters`. ValueError where they are those of other settings."""
        if values.keys() != self.parameters.keys() or any(
            values[key].shape != parameter.shape for key, parameter in self.parameters.items()
        ):
            raise ValueError(
                "The checkpoint holds other parameters than this configuration trains; train.mode, train.rank, "
                "train.targets, adapter.branch and adapter.init must stay what they were. Give the run another folder "
                "(out=...), or set them back."
            )
        with torch.no_grad():
            for key, parameter in self.parameters.items():
                parameter.copy_(values[key])


def load_trainable(
    adapter: AdapterSettings,
    train: TrainSettings,
    sizes: Sizes,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
    person: Person | None = None,
) -> TrainableAdapter:
    """The adapter of the settings, ready to be trained.

    dtype   of what is not trained; trained parameters are float32
    person  whose tokens are trained, of tokens mode
    Raises FileNotFoundError, AdapterFileError (a ValueError) for a file that is no adapter or lacks a branch, and
    ValueError for fresh weights that cannot be made.
    """
    branches = _BRANCHES[adapter.branch]
    # What is trained is in float32: an update may be smaller than what bf16 rounds away.
    kept = torch.float32 if train.mode == "full" else dtype
    if adapter.init is None and train.mode == "tokens":
        raise ValueError(
            "train.mode is tokens and adapter.init is none: a person's tokens are read by one adapter. Name its file "
            "(adapter.init=withanyone.safetensors)."
        )
    if adapter.init is None:
        file, network = None, _fresh(adapter, branches, sizes, seed).to(device, kept)
    else:
        file = inspect_adapter(adapter.init)
        _check_base(file, sizes.base)
        network = AdapterNetwork.load(file, branches, dtype=kept, device=device)
        _check_widths(file, branches, sizes)
    network.requires_grad_(False)
    layout = "dual" if file is None else file.layout
    if train.mode == "tokens":
        if person is None:
            raise ValueError("train.mode is tokens, and it is not said whose tokens are to be learned.")
        parameters = started_tokens(network, person.identity)
    elif train.mode == "lora":
        parameters = _lora(network, train, layout, seed)
    else:
        parameters = _own(network, train, layout)
    alpha = train.alpha if train.mode == "lora" else None
    return TrainableAdapter(network, file, parameters, alpha, branch_weights(adapter), person, sizes.base)


def branch_shapes(adapter: AdapterSettings, sizes: Sizes) -> list[BranchShape]:
    """Sizes of the branches that `load_trainable` loads or makes, read off the file's header. Raises as it does."""
    branches = _BRANCHES[adapter.branch]
    if adapter.init is None:
        return _fresh_shapes(adapter, branches, sizes)
    file = inspect_adapter(adapter.init)
    _check_base(file, sizes.base)
    check_branches(file, branches)
    _check_widths(file, branches, sizes)
    return [file.shapes[branch] for branch in branches]


def branch_weights(adapter: AdapterSettings) -> dict[Branch, float]:
    """Output weight of each branch while it is trained."""
    branches, sig = _BRANCHES[adapter.branch], adapter.resemblance
    return {Branch.ARC: 1 - sig, Branch.SIG: sig} if len(branches) > 1 else dict.fromkeys(branches, 1.0)


def _own(network: AdapterNetwork, train: TrainSettings, layout: Literal["dual", "single"]) -> dict[str, nn.Parameter]:
    """The adapter's own parameters that are trained, made float32."""
    chosen = {}
    for name, parameter in network.named_parameters():
        # kv_out trains what is read of people and what is added to the image; the queries stay.
        if train.mode == "full" or name.endswith(("to_kv.weight", "to_out.weight")):
            # By .data it stays the same Parameter, which the module holds.
            parameter.data = parameter.data.float()
            chosen[parameter_key(name, layout)] = parameter.requires_grad_(True)
    return chosen


def _lora(
    network: AdapterNetwork, train: TrainSettings, layout: Literal["dual", "single"], seed: int
) -> dict[str, nn.Parameter]:
    """Adds low-rank updates beside the chosen matrices; they start at no change."""
    from peft import LoraConfig, inject_adapter_in_model

    matrices = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in matrices if _is_target(name, train.targets)]
    if not chosen:
        raise ValueError(
            f"train.targets names {', '.join(train.targets)}, and the trained branch has no such matrix; "
            "the sig branch alone has siglip_in."
        )
    configuration = LoraConfig(
        r=train.rank,
        lora_alpha=train.alpha,  # pyright: ignore[reportArgumentType]  peft says int and takes any number
        target_modules=chosen,
    )
    inject_adapter_in_model(configuration, network, adapter_name=_LORA)
    found = {}
    for name, parameter in network.named_parameters():
        is_update = f".{_LORA}." in name
        parameter.requires_grad_(is_update)
        if is_update:
            # peft calls it TARGET.lora_A.default.weight.
            target, kind = name.removesuffix(f".{_LORA}.weight").rsplit(".", 1)
            key = f"{parameter_key(target + '.weight', layout).removesuffix('.weight')}.{kind}.weight"
            parameter.data = _start_of(key, parameter, seed)
            found[key] = parameter
    return found


def _start_of(key: str, parameter: Tensor, seed: int) -> Tensor:
    """Uniform in +- 1/sqrt(fan_in) for A as peft does (here from our own draws), 0 for B."""
    if ".lora_B." in key:
        return torch.zeros_like(parameter, dtype=torch.float32)
    drawn = Draws(seed, 0).generator(key).random(tuple(parameter.shape), dtype="float32")
    return ((torch.from_numpy(drawn) * 2 - 1) / math.sqrt(parameter.shape[1])).to(parameter.device)


def _is_target(name: str, targets: tuple[str, ...]) -> bool:
    return any(f".{target}" in name for target in targets)


def _fresh(adapter: AdapterSettings, branches: tuple[Branch, ...], sizes: Sizes, seed: int) -> AdapterNetwork:
    """Weights of a new adapter: norms as they are, matrices of unit gain, outputs 0 so that it begins as no change."""
    network = AdapterNetwork(_fresh_shapes(adapter, branches, sizes))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                # in.2 is the projectors' layer norm, by its place in nn.Sequential; norms begin as 1, all biases as 0.
                parameter.fill_(float("norm" in name or name.endswith("in.2.weight")) * name.endswith("weight"))
            elif name.endswith("to_out.weight"):
                parameter.zero_()
            else:
                gain = parameter.shape[1] ** -0.5
                parameter.copy_(gain * Draws(seed, 0).normal(name, tuple(parameter.shape)))
    return network


def _fresh_shapes(adapter: AdapterSettings, branches: tuple[Branch, ...], sizes: Sizes) -> list[BranchShape]:
    if Branch.SIG in branches and sizes.siglip_width is None:
        raise ValueError(
            "The sig branch is to be trained and the cache holds no SigLIP tokens. Prepare it with a SigLIP tower, or "
            "set adapter.branch=arc."
        )
    # The released adapter's attention is half as wide as the stream.
    heads = adapter.heads or max(1, sizes.hidden // (2 * HEAD_DIM))
    return [
        BranchShape(
            sizes.hidden,
            heads,
            sizes.layers,
            adapter.tokens,
            sizes.embedding,
            sizes.siglip_width if branch is Branch.SIG else None,
        )
        for branch in branches
    ]


def _check_base(file: AdapterFile, base: BaseModel) -> None:
    own = base_of(file)
    if own is not None and own is not base:
        raise ValueError(
            f"{file.path.name} was trained for {own.label}, and base.path is {base.label}. Each layer of an adapter "
            f"belongs to a block of its own base model: name an adapter for {base.label}, or set adapter.init=none."
        )


def _check_widths(file: AdapterFile, branches: tuple[Branch, ...], sizes: Sizes) -> None:
    for branch in branches:
        shape = file.shapes[branch]
        if shape.embedding != sizes.embedding:
            raise ValueError(
                f"{file.path.name} reads face embeddings of {shape.embedding} numbers; the cache holds "
                f"{sizes.embedding}. Prepare the photos with the recognizer the adapter was trained with (antelopev2)."
            )
        if branch is Branch.SIG and shape.siglip_width != sizes.siglip_width:
            raise ValueError(
                f"{file.path.name} reads SigLIP tokens of width {shape.siglip_width}; the cache holds "
                f"{sizes.siglip_width or 'none'}. Prepare the photos with the SigLIP tower of the adapter."
            )
