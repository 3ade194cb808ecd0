"""Fake tensors: models and batches with shapes and types but without data, which take no memory.

What the training loop asks of numbers (is any face left, how large is the loss) is
answered as if every sample and face counted, so that its own code runs on them unchanged. Indices, masks and sigmas
stay real tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_core.canvas import CELL_PX
from withanyone_core.faces.alignment import SIDE_PX, TEMPLATE_PX
from withanyone_core.injection.placed_people import LearnedRows, PlacedPeople

from ..base.block_swap import blocks_of
from ..base.family import Architecture, Transformer
from ..configuration.finetune import TrainSettings
from ..loop.batch import Batch
from ..losses.contrast import Bank
from ..losses.identity import TargetFaces
from .weight_bytes import Precision, compute_dtype, is_quantized

PATCHES = 256  # SigLIP tokens of a face
SIGMA = 0.5  # under every gate: each sample is decoded and recognized
_aten = torch.ops.aten
_INDEXING = (_aten.index.Tensor, _aten._unsafe_index.Tensor, _aten.index_put.default, _aten.index_put_.default)


@dataclass(frozen=True)
class BatchShape:
    """How large a batch is.

    people, faces  of a sample: those with a row in the batch, and those that are judged
    covered        image tokens of a sample in somebody's place, at most
    text           shapes of the tensors of a text, by name
    siglip         tokens of a face and their width; None where no branch reads them
    negatives      rows of the bank, and how many each face draws of them; 0: no bank
    channels       of the transformer's latent
    latent_px      side of the square of pixels that one of its places covers
    """

    width_px: int
    height_px: int
    batch: int
    people: int
    faces: int
    covered: int
    text: Mapping[str, tuple[int, ...]]
    embedding: int = 512
    siglip: tuple[int, int] | None = None
    negatives: tuple[int, int] = (0, 0)
    channels: int = 16
    latent_px: int = 8

    @property
    def tokens(self) -> int:
        """Image tokens of a sample."""
        return (self.width_px // CELL_PX) * (self.height_px // CELL_PX)


@dataclass(frozen=True, eq=False)
class DummyAdapter:
    """An adapter without data.

    trained  what of it is trained, float32
    learned  of tokens mode: by branch the tokens that are trained, [1, tokens, hidden]
    """

    network: AdapterNetwork
    trained: Sequence[nn.Parameter]
    learned: Mapping[Branch, Tensor]


Module = TypeVar("Module", bound=nn.Module)


class FakeTensors:
    """Makes modules and tensors without data; those of one instance belong together."""

    def __init__(self) -> None:
        # Indices and masks are real, so the two kinds meet in one operator.
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def module(self, make: Callable[[], Module], dtype: torch.dtype = torch.float32) -> Module:
        """What `make` makes, frozen."""
        usual = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device("meta"):
                made = make().train(False)
        finally:
            torch.set_default_dtype(usual)
        return self.without_data(made)

    def without_data(self, module: Module) -> Module:
        """A module from a file or from torch's meta device, frozen, its data dropped."""
        for owner in module.modules():
            for name, value in owner._parameters.items():
                if value is not None:
                    owner._parameters[name] = nn.Parameter(self._of(value), requires_grad=False)
            for name, value in owner._buffers.items():
                if value is not None:
                    owner._buffers[name] = self._of(value)
        return module

    def transformer(self, architecture: Architecture, precision: Precision) -> Transformer:
        """A base model; if quantized, its blocks dequantize one layer at a time, as the real ones do."""
        dtype = compute_dtype(precision)
        model = self.module(architecture.make, dtype)
        if is_quantized(precision):
            for block in blocks_of(model):
                for parent in list(block.modules()):
                    for name, layer in list(parent.named_children()):
                        if isinstance(layer, nn.Linear):
                            setattr(parent, name, _Quantized(layer))
        return model

    def adapter(self, shapes: Sequence[BranchShape], train: TrainSettings, dtype: torch.dtype) -> "DummyAdapter":
        """An adapter as `load_trainable` makes it ready; what is not trained is held in `dtype`."""
        kept = torch.float32 if train.mode == "full" else dtype
        network = self.module(lambda: _network(shapes, train), kept)
        if train.mode == "tokens":
            learned = {shape.branch: self._parameter(1, _tokens(shape), shape.hidden) for shape in shapes}
            return DummyAdapter(network, list(learned.values()), learned)
        names = [name for name, _ in network.named_parameters() if _is_trained(name, train.mode)]
        for name in names:
            owner, _, attribute = name.rpartition(".")
            module = network.get_submodule(owner)
            setattr(module, attribute, self._parameter(*getattr(module, attribute).shape))
        return DummyAdapter(network, [network.get_parameter(name) for name in names], {})

    def batch(self, shape: BatchShape, learned: Mapping[Branch, Tensor]) -> Batch:
        """As `batch_of`, without data."""
        return batch_of(shape, self.tensor, learned)

    def bank(self, shape: BatchShape) -> Bank | None:
        rows = shape.negatives[0]
        if not rows or not shape.negatives[1]:
            return None
        numbers = torch.arange(rows)
        nobody = torch.full((rows,), -1)
        return Bank(self.tensor(rows, shape.embedding), nobody, numbers, torch.ones_like(numbers), nobody[:0])

    def tensor(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        with self._mode:
            # Of the CPU: fake tensors of CUDA would ask for a device.
            return torch.empty(shape, dtype=dtype, device="cpu")

    def _of(self, value: Tensor) -> Tensor:
        return self.tensor(*value.shape, dtype=value.dtype)

    def _parameter(self, *shape: int) -> nn.Parameter:
        with self._mode:
            return nn.Parameter(torch.empty(shape, device="cpu"))


def batch_of(shape: BatchShape, tensor: Callable[..., Tensor], learned: Mapping[Branch, Tensor] | None = None) -> Batch:
    """A pass of that size: people share the covered tokens, and every face lies in the image's middle.

    tensor   makes float tensors of a shape
    learned  of branches the tokens of whoever is first in each sample, [1, T, D]
    """
    faces, rows = shape.batch * shape.faces, torch.zeros(shape.batch, shape.people, dtype=torch.int64)
    latent = shape.channels, shape.height_px // shape.latent_px, shape.width_px // shape.latent_px
    # ArcFace's own face, half as large as the image, in its middle.
    landmarks = np.tile(TEMPLATE_PX / SIDE_PX * 0.5 + 0.25, (faces, 1, 1)).astype(np.float32)
    target = tensor(faces, shape.embedding)
    drawn = shape.negatives[1]
    return Batch(
        clean_BCHW=tensor(shape.batch, *latent),
        noise_BCHW=tensor(shape.batch, *latent),
        sigmas_B=torch.full((shape.batch,), SIGMA),
        text={name: tensor(shape.batch, *sizes) for name, sizes in shape.text.items()},
        people=PlacedPeople(
            tensor(shape.batch, shape.people, shape.embedding),
            _members(shape),
            None if shape.siglip is None else tensor(shape.batch, shape.people, *shape.siglip),
            {branch: LearnedRows(tokens, rows) for branch, tokens in (learned or {}).items()},
        ),
        faces=TargetFaces(torch.arange(shape.batch).repeat_interleave(shape.faces), landmarks),
        target_FE=target,
        reference_FE=target,
        identities_F=torch.arange(faces),
        rows_FK=torch.zeros(faces, drawn, dtype=torch.int64) if drawn else None,
    )


class AssumeOnes(TorchDispatchMode):
    """Inside, questions about numbers that are not there are answered: sums are 1, masks are true everywhere."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # This is .item(), and a fake tensor has no number to give.
        if func is _aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return args[0].dtype == torch.bool or (1.0 if args[0].is_floating_point() else 1)
        # How many rows a mask chooses would depend on data.
        if func in _INDEXING:
            args = (args[0], [row for each in args[1] for row in _rows(each)], *args[2:])
        return func(*args, **(kwargs or {}))


class _Quantized(nn.Module):
    """A quantized linear layer: nothing of its matrix is kept for the backward pass, which dequantizes it again."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return _Dequantized.apply(x, self.bias, (self.out_features, self.in_features))


class _Dequantized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, shape: tuple[int, int]) -> Tensor:
        ctx.shape = shape
        return F.linear(x, x.new_empty(shape), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad @ grad.new_empty(ctx.shape), None, None


def _members(shape: BatchShape) -> Tensor:
    """Everybody has an equal run of the covered tokens, the last of them what is left."""
    found = torch.zeros(shape.batch, shape.people, shape.tokens, dtype=torch.bool)
    for person, part in enumerate(torch.arange(shape.covered).tensor_split(shape.people)):
        found[:, person, part] = True
    return found


def _network(shapes: Sequence[BranchShape], train: TrainSettings) -> AdapterNetwork:
    """An adapter with the low-rank updates of lora mode beside its matrices."""
    network = AdapterNetwork(shapes)
    if train.mode == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        chosen = [name for name in layers if any(f".{target}" in name for target in train.targets)]
        lora = LoraConfig(
            r=train.rank,
            lora_alpha=train.alpha,  # pyright: ignore[reportArgumentType]  peft says int and takes any number
            target_modules=chosen,
        )
        inject_adapter_in_model(lora, network)
    return network


def _tokens(shape: BranchShape) -> int:
    """Tokens of a person in a branch; SigLIP's 16 x 16 patches come before ArcFace's."""
    return shape.arc_tokens + (PATCHES if shape.branch is Branch.SIG else 0)


def _is_trained(name: str, mode: str) -> bool:
    if mode == "lora":
        return ".lora_" in name
    return mode == "full" or name.endswith(("to_kv.weight", "to_out.weight"))


def _rows(index: Any) -> list[Any]:
    """A mask as indices; of one without data all are true."""
    if not isinstance(index, Tensor) or index.dtype != torch.bool:
        return [index]
    if isinstance(index, FakeTensor):
        return [index.new_empty(index.numel(), dtype=torch.int64) for _ in range(index.ndim)]
    return list(index.nonzero(as_tuple=True))
