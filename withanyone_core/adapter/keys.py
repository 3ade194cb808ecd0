"""Names and shapes of an adapter's tensors: in a file, and in the modules that hold them."""

from typing import Literal

from .shape import Branch, BranchShape

Layout = Literal["dual", "single"]
Part = Literal["encoder", "attention"]


def expected_keys(shape: BranchShape, layout: Layout) -> dict[str, tuple[int, ...]]:
    """Key and shape of every tensor a branch has in a file of this layout."""
    suffix = branch_suffix(shape.branch, layout)
    keys = {}
    for part in ("encoder", "attention"):
        for name, size in part_shapes(shape, part).items():
            keys[file_key(name, suffix)] = size
    return keys


def part_shapes(shape: BranchShape, part: Part) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of `IdentityEncoder` or `IdentityAttention`."""
    hidden, inner = shape.hidden, shape.inner
    if part == "attention":
        layer = {"norm2.weight": (hidden,), "norm2.bias": (hidden,), "to_q.weight": (inner, hidden)}
        layer["to_out.weight"] = (hidden, inner)
        return {f"{index}.{name}": size for index in range(shape.layers) for name, size in layer.items()}
    layer = {"norm1.weight": (hidden,), "norm1.bias": (hidden,), "to_kv.weight": (2 * inner, hidden)}
    names = {f"layers.{index}.{name}": size for index in range(shape.layers) for name, size in layer.items()}
    # Widths of the released projectors: 512, 4 h, 8 h for ArcFace; 768, h, h for SigLIP patches.
    names |= _projector_shapes("arcface_in", shape.embedding, 4 * hidden, shape.arc_tokens * hidden)
    if shape.siglip_width:
        names |= _projector_shapes("siglip_in", shape.siglip_width, hidden, hidden)
    return names


def _projector_shapes(name: str, entered: int, middle: int, left: int) -> dict[str, tuple[int, ...]]:
    return {
        # Indices of nn.Sequential: 0 linear, 1 GELU (no parameters), 2 layer norm, 3 linear.
        f"{name}.0.weight": (middle, entered),
        f"{name}.0.bias": (middle,),
        f"{name}.2.weight": (middle,),
        f"{name}.2.bias": (middle,),
        f"{name}.3.weight": (left, middle),
        f"{name}.3.bias": (left,),
    }


def branch_suffix(branch: Branch, layout: Layout) -> str:
    return f"_{branch.value}" if layout == "dual" else ""


def file_key(name: str, suffix: str) -> str:
    """`layers.3.to_kv.weight` or `3.to_q.weight` -> `ipa_arc.3...`; `arcface_in.0.bias` -> `arcface_in_arc.0.bias`."""
    prefix, rest = name.split(".", 1)
    if prefix in ("arcface_in", "siglip_in"):
        return f"{prefix}{suffix}.{rest}"
    return f"ipa{suffix}.{rest if prefix == 'layers' else name}"
