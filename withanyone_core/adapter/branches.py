"""Branches in and out of one file: the released adapter is two branches, each trained alone."""

from collections.abc import Sequence

from torch import Tensor

from .checkpoint import AdapterFile, AdapterFileError, Change, read_part
from .keys import file_key
from .network import PARTS
from .shape import Branch


def split(file: AdapterFile, branch: Branch, changes: Sequence[Change] = ()) -> dict[str, Tensor]:
    """One branch under the names of a training file (`ipa.0.to_q.weight`), each tensor put through `changes`.

    Raises AdapterFileError where the file has no such branch, or holds NaN.
    """
    return _branch(file, branch, "", changes)


def merge(files: Sequence[AdapterFile], changes: Sequence[Change] = ()) -> dict[str, Tensor]:
    """The branches of several files as one file holds them (`ipa_arc.0.to_q.weight`).

    Where two files have the same branch, the later one's is taken: the released file and then a fine-tuned branch give
    the released file with that branch replaced. Parameters that no network uses are left out. `changes` are applied to
    every tensor, called with its key in the file it comes from.

    Raises AdapterFileError where the files were made for different base models.
    """
    chosen = {branch: file for file in files for branch in file.shapes}
    sizes = {branch: file.shapes[branch] for branch, file in chosen.items()}
    # Branches meet in the residual stream alone: numbers of heads and tokens may differ, width and blocks may not.
    first, *others = sizes.items()
    for branch, size in others:
        if (size.hidden, size.layers) != (first[1].hidden, first[1].layers):
            raise AdapterFileError(
                f"{chosen[first[0]].path.name} was made for a model of width {first[1].hidden} with {first[1].layers} "
                f"blocks, {chosen[branch].path.name} for width {size.hidden} with {size.layers} blocks; they cannot be "
                "one adapter."
            )
    merged: dict[str, Tensor] = {}
    for branch, file in chosen.items():
        # Suffixed names also where one branch is left: they are those of the released inference file.
        merged |= _branch(file, branch, f"_{branch.value}", changes)
    return merged


def _branch(file: AdapterFile, branch: Branch, suffix: str, changes: Sequence[Change]) -> dict[str, Tensor]:
    if branch not in file.shapes:
        held = ", ".join(each.value for each in file.shapes)
        raise AdapterFileError(f"{file.path.name} has no {branch.value} branch; it holds {held}.")
    return {
        file_key(name, suffix): tensor
        for part in PARTS
        for name, tensor in read_part(file, branch, part, changes).items()
    }
