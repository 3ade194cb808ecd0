"""The widths on which the stand-ins and the small adapter file agree."""

HIDDEN = 64
HEADS = 1  # 64 wide in Flux as in the adapter
AXES = [16, 24, 24]
DOUBLE_BLOCKS = 1
SINGLE_BLOCKS = 1
TEXT = 64
POOLED = 64
