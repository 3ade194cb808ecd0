"""A small network that looks at windows, for losses alone: what matters in a face, it notices.

It is trained beside what uses it and thrown away. Neither the recognizer nor the judge may do this: the one tells the
adapter who people are, the other judges.
"""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ...world.look import DIRECTIONS, EXPRESSIONS
from ...world.person import TRAITS

WIDTHS = (24, 48, 96, 128)
COMPARED_STAGES = 3


class PerceptualNet(nn.Module):
    """Reads traits, expression and direction off windows [B, 3, 80, 80] in -1..1."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, width, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for before, width in zip((3, *WIDTHS), WIDTHS, strict=False)
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(WIDTHS[-1] * 25, 192), nn.ReLU())
        self.traits = nn.Linear(192, len(TRAITS))
        self.expression = nn.Linear(192, len(EXPRESSIONS))
        self.direction = nn.Linear(192, len(DIRECTIONS))

    def features(self, windows: Tensor) -> list[Tensor]:
        """The maps that are compared, from fine to coarse."""
        found = []
        for stage in self.stages[:COMPARED_STAGES]:
            windows = stage(windows)
            found.append(windows)
        return found

    def learning_loss(self, windows: Tensor, traits: Tensor, expression: Tensor, direction: Tensor) -> Tensor:
        """What it has to learn itself."""
        for stage in self.stages:
            windows = stage(windows)
        read = self.hidden(windows)
        answers = cross_entropy(self.expression(read), expression) + cross_entropy(self.direction(read), direction)
        return 3 * mse_loss(self.traits(read), traits) + answers

    def difference(self, generated: Tensor, target: Tensor) -> Tensor:
        """Mean over stages of the maps' difference, relative to the target's own size."""
        pairs = list(zip(self.features(generated), self.features(target), strict=True))
        return sum(
            (generated - target).abs().mean() / target.abs().mean().clamp(min=1e-6) for generated, target in pairs
        ) / len(pairs)
