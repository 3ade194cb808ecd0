"""A whole adapter as one module: what training changes, and what a program without ComfyUI runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from .attention import IdentityAttention
from .checkpoint import AdapterFile, AdapterFileError, Change, name_unknown, read_part
from .encoder import IdentityEncoder
from .keys import Part, file_key
from .shape import Branch, BranchShape

PARTS: tuple[Part, ...] = ("encoder", "attention")


class AdapterBranch(nn.Module):
    """Both parts of a branch: people to keys and values, and what image tokens take from them."""

    def __init__(
        self, shape: BranchShape, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = IdentityEncoder(shape, dtype=dtype, device=device)
        self.attention = IdentityAttention(shape, dtype=dtype, device=device)


class AdapterNetwork(nn.Module):
    """The branches of an adapter under their names, `arc` and `sig`."""

    def __init__(
        self,
        shapes: Iterable[BranchShape],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({shape.branch.value: AdapterBranch(shape, dtype, device) for shape in shapes})

    @classmethod
    def load(
        cls,
        file: AdapterFile,
        branches: Iterable[Branch] | None = None,
        changes: Sequence[Change] = (),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> "AdapterNetwork":
        """The branches of a checked file (all where none are named), each tensor put through `changes`.

        Raises AdapterFileError where the file lacks a branch or holds NaN.
        """
        chosen = tuple(file.shapes) if branches is None else tuple(branches)
        check_branches(file, chosen)
        name_unknown(file)
        # On meta the modules cost nothing; `assign` makes the tensors that were read the parameters, without a second
        # copy.
        with torch.device("meta"):
            network = cls(file.shapes[branch] for branch in chosen)
        state = {
            f"branches.{branch.value}.{part}.{name}": tensor.to(device, dtype or file.dtype)
            for branch in chosen
            for part in PARTS
            for name, tensor in read_part(file, branch, part, changes).items()
        }
        network.load_state_dict(state, assign=True)
        return network

    def __getitem__(self, branch: Branch) -> AdapterBranch:
        return cast(AdapterBranch, self.branches[branch.value])  # nn.ModuleDict does not tell what it holds

    @property
    def shapes(self) -> Mapping[Branch, BranchShape]:
        return {branch: self[branch].shape for branch in map(Branch, self.branches)}


def check_branches(file: AdapterFile, branches: Iterable[Branch]) -> None:
    """AdapterFileError where the file lacks one of these branches."""
    absent = [branch.value for branch in branches if branch not in file.shapes]
    if absent:
        held = ", ".join(branch.value for branch in file.shapes)
        raise AdapterFileError(f"{file.path.name} has no {absent[0]} branch; it holds {held}.")


def parameter_key(name: str, layout: Literal["dual", "single"] = "dual") -> str:
    """Key in an adapter file of a parameter or module of `AdapterNetwork`.

    `branches.arc.encoder.layers.3.to_kv.weight` is `ipa_arc.3.to_kv.weight` in a file of two branches.
    """
    # branches.BRANCH.PART.REST: files do not name the part, since the two parts of a layer have no name in common.
    _, branch, _, rest = name.split(".", 3)
    return file_key(rest, f"_{branch}" if layout == "dual" else "")


def file_tensors(
    state: Mapping[str, Tensor], layout: Literal["dual", "single"] = "dual", dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """A state dict of `AdapterNetwork` under the keys of an adapter file, ready to be saved; values in `dtype`."""
    # safetensors stores bytes as they lie, so tensors have to be contiguous.
    return {parameter_key(name, layout): value.detach().to(dtype=dtype).contiguous() for name, value in state.items()}
