"""HTML pages that need nothing else: one look for all reports, and images written into the page itself."""

import base64
import io
from collections.abc import Iterable
from html import escape

from PIL import Image

CSS = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#1d2129;background:#fff;max-width:1400px}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse}
th,td{padding:.4rem .6rem;border:1px solid #d5d9e0;text-align:left;vertical-align:top}
small{color:#5b6472}ul{padding-left:1.2rem}
@media(prefers-color-scheme:dark){body{background:#15181d;color:#e4e7ec}small{color:#9aa3b2}th,td{border-color:#3a404b}}
"""


def document(title: str, parts: Iterable[str], css: str = "") -> str:
    """A whole page of HTML parts, with rules of its own after those that all pages have."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return "\n".join((head, f"<style>{CSS}{css}</style>", *parts, "</html>\n"))


def jpeg_uri(image: Image.Image) -> str:
    """The image as the address of an `<img>`, reduced beforehand to what is to be seen."""
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
