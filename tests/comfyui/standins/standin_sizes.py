"""The widths on which the stand-ins and the small adapter file agree."""

HIDDEN = 128
HEADS = 2  # 64 wide in Flux, and an adapter of inner width 64 * 2 = 128
AXES = [16, 24, 24]
DOUBLE_BLOCKS = 1
SINGLE_BLOCKS = 2
TEXT = 64
POOLED = 64
