"""Replays of the adapter's own modules: projectors, and one block with both branches."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...withanyone_core.adapter.attention import AttentionLayer
from ...withanyone_core.adapter.checkpoint import expected_keys
from ...withanyone_core.adapter.encoder import KeyValueLayer
from ...withanyone_core.adapter.projectors import ArcProjector, SigProjector
from ...withanyone_core.adapter.shape import Branch, BranchShape
from ...withanyone_core.adapter.stacked import StackedAttentionLayer, fold_layer
from ...withanyone_core.regions.cells import Grid, cell_groups
from ...withanyone_core.regions.layout import Box
from .report import Outcome, exact, within
from .stored import header, tensors, under

MODULES = 1e-5
ARC_TOKENS, SIG_TOKENS = 8, 264


def projectors(folder: Path) -> Iterator[Outcome]:
    stored = tensors(folder / "a_projectors.safetensors")
    inputs = tensors(folder / "id_inputs.safetensors")
    hidden = header(folder / "a_projectors.safetensors")["hidden_size"]
    embedding, width = inputs["arcface_raw"].shape[-1], inputs["siglip_last_hidden_state"].shape[-1]
    arc = _loaded(ArcProjector(embedding, hidden, ARC_TOKENS), under("w.arcface_in_arc.", stored))
    sig_arc = _loaded(ArcProjector(embedding, hidden, ARC_TOKENS), under("w.arcface_in_sig.", stored))
    sig = _loaded(SigProjector(width, hidden), under("w.siglip_in_sig.", stored))
    for case, reference in under("out.", stored).items():
        rows = [int(digit) for digit in case.split(".")[0].removeprefix("ids_")]
        faces, photos = inputs["arcface_raw"][rows], inputs["siglip_last_hidden_state"][rows]
        made = arc(faces) if case.endswith("arc_tokens") else torch.cat([sig(photos), sig_arc(faces)], dim=1)
        yield within(case, made.flatten(0, 1)[None], reference, MODULES)


def block(path: Path) -> Iterator[Outcome]:
    """Both branches' attention after one block, and the stream after the weighted update."""
    stored, about = tensors(path), header(path)
    shape = BranchShape(about["hidden_size"], about["num_heads"], 1, ARC_TOKENS, 512)
    layers = {branch: _layer(shape, under(f"ipa_{branch.value}.", stored)) for branch in Branch}
    rows, columns = about["grid_HpWp"]
    width_px, height_px = about["image_px_WH"]
    stream = stored.get("mid.block_img", stored.get("mid.block_x"))
    first = stream.shape[1] - rows * columns
    grid = Grid(columns, rows, width_px, height_px)
    for name, boxes_px in about["boxes"].items():
        boxes = [Box.from_px(*box, width_px, height_px) for box in boxes_px]
        yield exact(f"{name} people: cells", _members(boxes, grid), stored[f"mask.{name}id.grid"].flatten(1).tolist())
        attended = {branch: _attend(layers[branch], stream, first, boxes, grid, branch, stored) for branch in Branch}
        for branch, value in attended.items():
            yield within(f"{name}id.{branch.value}", value, stored[f"out.{name}id.ipa_{branch.value}"], MODULES)
        for case, reference in under(f"out.{name}id.img_", stored).items():
            arc_weight, sig_weight = (float(part[3:] if part[0] == "s" else part[2:]) for part in case.split("_"))
            updated = stream.clone()
            updated[:, first:] += arc_weight * attended[Branch.ARC] + sig_weight * attended[Branch.SIG]
            yield within(f"{name}id.{case}", updated, reference, MODULES)
    everywhere = [Box(0.0, 0.0, 1.0, 1.0)] * 2
    for branch in Branch:
        value = _attend(layers[branch], stream, first, everywhere, grid, branch, stored)
        yield within(f"no boxes.{branch.value}", value, stored[f"out.2id_nomask.ipa_{branch.value}"], MODULES)


def checkpoint_keys(expected: dict[str, dict[str, list[int]]]) -> Iterator[Outcome]:
    """Key names and shapes of the released files, from the sizes alone."""
    arc = BranchShape(hidden=3072, heads=24, layers=57, arc_tokens=8, embedding=512)
    sig = BranchShape(hidden=3072, heads=24, layers=57, arc_tokens=8, embedding=512, siglip_width=768)
    layouts = {
        "dual_branch_required": {**expected_keys(arc, "dual"), **expected_keys(sig, "dual")},
        "single_branch_required": expected_keys(arc, "single"),
    }
    for name, keys in layouts.items():
        yield exact(name, {key: list(shape) for key, shape in keys.items()}, expected[name])


def _attend(
    layers: tuple[KeyValueLayer, AttentionLayer],
    stream: Tensor,
    first: int,
    boxes: list[Box],
    grid: Grid,
    branch: Branch,
    stored: dict[str, Tensor],
) -> Tensor:
    per_person = ARC_TOKENS if branch is Branch.ARC else SIG_TOKENS
    people = stored[f"in.{branch.value}_tokens"][0].unflatten(0, (-1, per_person))
    key_values, attention = layers
    made = key_values(people)
    groups = cell_groups(boxes, grid)
    index = torch.cat([group.cells for group in groups]) + first
    runs = [torch.cat([made[person] for person in group.people], dim=2) for group in groups]
    residual = _stacked(attention)(
        stream[:, index],
        [len(group.cells) for group in groups],
        [[(keys[None], values[None])] for keys, values in runs],
    )
    return torch.zeros_like(stream).index_copy(1, index, residual)[:, first:]


def _stacked(attention: AttentionLayer) -> StackedAttentionLayer:
    """The layer as ComfyUI's socket runs it, of one branch."""
    shape = BranchShape(attention.to_q.in_features, attention.heads, 1, ARC_TOKENS, 512)
    return _loaded(StackedAttentionLayer([shape]), fold_layer([attention.state_dict()]))


def _layer(shape: BranchShape, weights: dict[str, Tensor]) -> tuple[KeyValueLayer, AttentionLayer]:
    key_values, attention = KeyValueLayer(shape), AttentionLayer(shape)
    for module in (key_values, attention):
        _loaded(module, {name: weights[name] for name in module.state_dict()})
    return key_values, attention


def _loaded(module: torch.nn.Module, weights: dict[str, Tensor]) -> torch.nn.Module:
    module.load_state_dict(weights)
    return module.eval().requires_grad_(False)


def _members(boxes: list[Box], grid: Grid) -> list[list[int]]:
    members = torch.zeros(len(boxes), grid.rows * grid.columns, dtype=torch.int64)
    for group in cell_groups(boxes, grid):
        for person in group.people:
            members[person, group.cells] = 1
    return members.tolist()
