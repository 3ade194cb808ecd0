"""The judge: a recognizer of another family, depthwise convolutions after ConvNeXt, pooled by a learned window."""

from collections.abc import Sequence

from torch import Tensor, nn

SIDE_PX = 128
EMBEDDING = 256
WIDTHS = (32, 64, 128)
DEPTHS = (1, 2, 2)
WIDENING = 2


class Block(nn.Module):
    """A 5 x 5 convolution of each channel, then two linear layers over channels, added to what came."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.widen = nn.Conv2d(width, WIDENING * width, 1)
        self.act = nn.GELU()
        self.narrow = nn.Conv2d(WIDENING * width, width, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.narrow(self.act(self.widen(self.norm(self.spread(x_BCHW)))))


class JudgeNet(nn.Module):
    """Embeddings [B, 256] of upright BGR faces [B, 3, 128, 128] in -1..1."""

    def __init__(self, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4, bias=False), nn.BatchNorm2d(widths[0])]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if stage:
                layers += [nn.BatchNorm2d(widths[stage - 1]), nn.Conv2d(widths[stage - 1], width, 2, 2)]
            layers += [Block(width) for _ in range(depth)]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]))
        side = SIDE_PX // (4 * 2 ** (len(widths) - 1))
        self.window = nn.Conv2d(widths[-1], widths[-1], side, groups=widths[-1], bias=False)
        self.vector = nn.Linear(widths[-1], EMBEDDING, bias=False)
        self.vector_norm = nn.BatchNorm1d(EMBEDDING)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.vector_norm(self.vector(self.window(self.body(x_BCHW)).flatten(1)))
