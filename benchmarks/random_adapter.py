"""Both branches of an adapter with random weights, run as ComfyUI's socket runs them and densely as released."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import torch
from dense_reference import DenseBranch, update_joint_stream
from safetensors.torch import save_file
from torch import Tensor, nn
from withanyone_pack.withanyone_core.adapter.attention import IdentityAttention
from withanyone_pack.withanyone_core.adapter.encoder import KeyValueLayer
from withanyone_pack.withanyone_core.adapter.keys import expected_keys
from withanyone_pack.withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_pack.withanyone_core.adapter.stacked import StackedAttention, fold
from withanyone_pack.withanyone_core.base_models.flux1 import FLUX_1
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.injection.comfyui.forward import Forward
from withanyone_pack.withanyone_core.injection.comfyui.injection import Injection, Settings
from withanyone_pack.withanyone_core.injection.comfyui.region_tokens import RegionTokens, group_tokens
from withanyone_pack.withanyone_core.regions.cells import Grid, cell_groups, region_cells
from withanyone_pack.withanyone_core.regions.layout import Box, PlacedFace

HIDDEN, HEADS = 3072, 24
TOKENS = {Branch.ARC: 8, Branch.SIG: 264}
WEIGHT = 0.5


def shapes_of(hidden: int, heads: int, layers: int) -> dict[Branch, BranchShape]:
    """Both branches as released, at any width and depth."""
    return {
        Branch.ARC: BranchShape(hidden, heads, layers, 8, 512),
        Branch.SIG: BranchShape(hidden, heads, layers, 8, 512, siglip_width=768),
    }


def write_adapter(path: Path, shapes: dict[Branch, BranchShape], dtype: torch.dtype, device: torch.device) -> Path:
    """An adapter file of both branches, 5.6 GB at full size in bfloat16, its numbers drawn on the device."""
    tensors = {}
    for shape in shapes.values():
        for key, size in expected_keys(shape, "dual").items():
            if len(size) > 1:
                drawn = torch.randn(size, device=device, dtype=dtype) / size[-1] ** 0.5
            else:
                drawn = torch.full(size, 0.0 if key.endswith("bias") else 1.0, dtype=dtype)
            tensors[key] = drawn.cpu()
    save_file(tensors, path)
    return path


@dataclass(frozen=True)
class Scene:
    """A square canvas with people in boxes, and the joint stream it makes."""

    side_px: int
    text_tokens: int
    boxes: tuple[Box, ...]

    @property
    def grid(self) -> Grid:
        cells = self.side_px // 16
        return Grid(cells, cells, self.side_px, self.side_px)

    @property
    def covered(self) -> float:
        """Part of the image inside boxes."""
        members = torch.stack([region_cells(box, self.grid) for box in self.boxes])
        return members.any(0).float().mean().item()


@torch.no_grad()
def draw(module: nn.Module) -> None:
    """Random values for layers that come without any, as ComfyUI's do."""
    for name, value in module.named_parameters():
        if value.ndim > 1:
            value.normal_(0, value.shape[-1] ** -0.5)
        else:
            value.normal_(1.0 if name.endswith("weight") else 0.0, 0.1)


class RandomAdapter:
    """`layers` layers of both branches, at FLUX.1's width where none is given, and random people for a scene."""

    def __init__(
        self,
        scene: Scene,
        layers: int,
        dtype: torch.dtype,
        device: torch.device,
        hidden: int = HIDDEN,
        heads: int = HEADS,
        operations: ModuleType = nn,
        stacked_operations: ModuleType = nn,
        tokens: Mapping[Branch, int] = TOKENS,
    ) -> None:
        placed = {"dtype": dtype, "device": device}
        shapes = shapes_of(hidden, heads, layers)
        self.scene, self.layers, self.device, self.heads = scene, layers, device, heads
        self.attentions = {branch: IdentityAttention(shape, operations, **placed) for branch, shape in shapes.items()}
        for module in self.attentions.values():
            draw(module)
        self.stacked = StackedAttention(list(shapes.values()), stacked_operations, **placed)
        self.stacked.load_state_dict(fold([module.state_dict() for module in self.attentions.values()]))
        self.key_values = {
            branch: [KeyValueLayer(shape, **placed) for _ in range(layers)] for branch, shape in shapes.items()
        }
        self.tokens = {
            branch: torch.randn(len(scene.boxes), count, hidden, **placed) for branch, count in tokens.items()
        }

    def injection(self) -> Injection:
        """What the Apply node makes: keys and values on the CPU, settings, and the attention's slots."""
        somebody = Identity("random", torch.zeros(512), None, torch.zeros(512, 512, 3))
        made = {
            branch: torch.stack([layer(self.tokens[branch]) for layer in layers]).cpu()
            for branch, layers in self.key_values.items()
        }
        people = range(len(self.scene.boxes))
        return Injection(
            base=FLUX_1,
            faces=[PlacedFace(somebody, box) for box in self.scene.boxes],
            keys_values={branch: [layers[:, person] for person in people] for branch, layers in made.items()},
            slot=0,
            settings=Settings(dict.fromkeys(Branch, WEIGHT)),
            truncates_boxes=False,
        )

    @cached_property
    def region_tokens(self) -> RegionTokens:
        """As a sampling run keeps it."""
        groups = cell_groups(list(self.scene.boxes), self.scene.grid)
        tokens = tuple(of_people.shape[1] for of_people in self.tokens.values())
        return group_tokens(groups, [tokens] * len(self.scene.boxes), self.device)

    def sparse(self, injection: Injection, stream: Tensor) -> Tensor:
        """Every layer's update of the joint stream, in place."""
        forward = Forward([self.region_tokens], 1.0, self.stacked, injection.device_keys_values)
        for layer in range(self.layers):
            forward.add_people(stream, layer, self.scene.text_tokens)
        return stream

    def dense_layers(self) -> list[dict[DenseBranch, float]]:
        members = torch.stack([region_cells(box, self.scene.grid) for box in self.scene.boxes]).T.to(self.device)
        masks = {
            branch: members.repeat_interleave(count, dim=1)[None, None].expand(1, self.heads, -1, -1).contiguous()
            for branch, count in TOKENS.items()
        }
        return [
            {self._dense_branch(branch, layer, masks[branch]): WEIGHT for branch in Branch}
            for layer in range(self.layers)
        ]

    def dense(self, layers: list[dict[DenseBranch, float]], stream: Tensor) -> Tensor:
        for branches in layers:
            stream = update_joint_stream(stream, self.scene.text_tokens, branches)
        return stream

    def _dense_branch(self, branch: Branch, layer: int, mask: Tensor) -> DenseBranch:
        tokens = self.tokens[branch].flatten(0, 1)[None]
        return DenseBranch(self.key_values[branch][layer], self.attentions[branch][layer], tokens, mask)
