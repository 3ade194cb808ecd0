"""The recognizer: an iResNet as insightface lays it out, small. Letters: B batch, C channels, H rows, W columns."""

from collections.abc import Sequence

from torch import Tensor, nn

SIDE_PX = 112
EMBEDDING = 512
WIDTHS = (32, 64, 96)
DEPTHS = (2, 2, 2)


class Unit(nn.Module):
    """Two convolutions between three norms; the second one takes the stride."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm_in = nn.BatchNorm2d(width_in)
        self.conv_in = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv_out = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm_out = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if stride > 1 or width_in != width:
            conv = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inner_BCHW = self.prelu(self.norm(self.conv_in(self.norm_in(x_BCHW))))
        return self.norm_out(self.conv_out(inner_BCHW)) + self.shortcut(x_BCHW)


class IResNet(nn.Module):
    """Embeddings [B, 512] of upright RGB faces [B, 3, 112, 112] in -1..1.

    The stem goes at once to a quarter of the side, where insightface's leaves it whole and its first stages halve it:
    faces of 60 pixels, enlarged to 112, hold little more, and three quarters of the work are saved.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> None:
        """`widths` and `depths` say, for each of the three stages that halve the map, its channels and its units."""
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 5, 4, padding=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.stem_prelu = nn.PReLU(widths[0])
        before = (widths[0], *widths)
        units = [
            Unit(width if number else before[stage], width, 1 if number else 2)
            for stage, (width, depth) in enumerate(zip(widths, depths, strict=True))
            for number in range(depth)
        ]
        self.units = nn.Sequential(*units)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(widths[-1] * 4 * 4, EMBEDDING)
        self.vector_norm = nn.BatchNorm1d(EMBEDDING)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        map_BCHW = self.units(self.stem_prelu(self.stem_norm(self.stem(x_BCHW))))
        return self.vector_norm(self.linear(self.flatten(self.norm(map_BCHW))))
