"""Decisions on computed numbers: one that lies beside its bound by no more than rounding counts as lying on it.

The last bits of a float differ from processor to processor. Compared or floored as it comes, 4.9999999 for 5 makes
another image, another cell or another person on another machine. Written out where it is used: `value > bound +
SLACK`, `value >= bound - SLACK`, `floor(value + SLACK)`.
"""

SLACK = 3e-7  # of cosines, fractions and sigmas, none above 1: five times what float32 rounds there
PLACES_PX = 3  # decimal places that pixels are rounded to; float32 keeps them to a thousandth up to 8192
SLACK_PX = 1e-3  # of pixels
