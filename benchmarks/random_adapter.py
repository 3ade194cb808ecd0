"""Both branches of an adapter with random weights, run as ComfyUI's socket runs them and densely as released."""

from dataclasses import dataclass

import torch
from dense_reference import DenseBranch, update_joint_stream
from torch import Tensor
from withanyone_pack.withanyone_core.adapter.attention import IdentityAttention
from withanyone_pack.withanyone_core.adapter.encoder import KeyValueLayer
from withanyone_pack.withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_pack.withanyone_core.identity import Identity
from withanyone_pack.withanyone_core.injection.comfyui.forward import Forward, Pass
from withanyone_pack.withanyone_core.injection.comfyui.injection import Injection, Settings
from withanyone_pack.withanyone_core.regions.cells import Grid, cell_groups, region_cells
from withanyone_pack.withanyone_core.regions.layout import Box, PlacedFace

HIDDEN, HEADS = 3072, 24
TOKENS = {Branch.ARC: 8, Branch.SIG: 264}
WEIGHT = 0.5


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


class RandomAdapter:
    """`layers` layers of both branches at FLUX.1's width, and random people for a scene."""

    def __init__(self, scene: Scene, layers: int, dtype: torch.dtype, device: torch.device) -> None:
        placed = {"dtype": dtype, "device": device}
        shapes = {
            Branch.ARC: BranchShape(HIDDEN, HEADS, layers, 8, 512),
            Branch.SIG: BranchShape(HIDDEN, HEADS, layers, 8, 512, siglip_width=768),
        }
        self.scene, self.layers, self.device = scene, layers, device
        self.attentions = {branch: IdentityAttention(shape, **placed) for branch, shape in shapes.items()}
        self.key_values = {
            branch: [KeyValueLayer(shape, **placed) for _ in range(layers)] for branch, shape in shapes.items()
        }
        self.tokens = {
            branch: torch.randn(len(scene.boxes), count, HIDDEN, **placed) for branch, count in TOKENS.items()
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
            faces=[PlacedFace(somebody, box) for box in self.scene.boxes],
            keys_values={branch: [layers[:, person] for person in people] for branch, layers in made.items()},
            slots={Branch.ARC: 0, Branch.SIG: 1},
            settings=Settings(dict.fromkeys(Branch, WEIGHT)),
            truncates_boxes=False,
        )

    def sparse(self, injection: Injection, stream: Tensor) -> Tensor:
        """Every layer's update of the joint stream, in place."""
        groups = cell_groups(list(self.scene.boxes), self.scene.grid)
        cells = torch.cat([group.cells for group in groups]).to(self.device)
        counts = tuple(len(group.cells) for group in groups)
        step = Pass(slice(0, 1), cells, counts, tuple(group.people for group in groups))
        forward = Forward([step], injection.settings.weights, self.attentions, injection.device_keys_values)
        for layer in range(self.layers):
            forward.add_people(stream, layer, self.scene.text_tokens)
        return stream

    def dense_layers(self) -> list[dict[DenseBranch, float]]:
        members = torch.stack([region_cells(box, self.scene.grid) for box in self.scene.boxes]).T.to(self.device)
        masks = {
            branch: members.repeat_interleave(count, dim=1)[None, None].expand(1, HEADS, -1, -1).contiguous()
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
