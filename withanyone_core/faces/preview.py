"""A used face as the node shows it: its crop with a line of text below."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .portrait import UsedFace

STRIP_PX = 40
FONT_PX = 20


def captioned_crop(used: UsedFace) -> np.ndarray:
    """The crop over a dark strip that says where it comes from, uint8 [552, 512, 3] RGB."""
    height_px, width_px = used.crop.shape[:2]
    image = Image.new("RGB", (width_px, height_px + STRIP_PX), "black")
    image.paste(Image.fromarray(used.crop))
    of = f"face {used.face_number} of {used.face_count}" if used.face_count > 1 else "1 face"
    text = f"photo {used.photo_number}   {of}   score {used.face.score:.2f}"
    draw = ImageDraw.Draw(image)
    draw.text((12, height_px + STRIP_PX // 2), text, "white", ImageFont.load_default(FONT_PX), anchor="lm")
    return np.asarray(image)
