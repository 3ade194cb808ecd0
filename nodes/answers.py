"""What the pack's widgets in the browser ask this server: where preset people stand, and who is saved.

    GET /withanyone/places?kind=preset|row&people=N&seed=N&width=PX&height=PX   {"boxes": [[x1, y1, x2, y2], ...]}
    GET /withanyone/identities             {"identities": [{"name", "changed"}, ...]}
    GET /withanyone/identities/crop?name=  the face crop of a saved identity, a small PNG
A question that has no answer gets status 400 and {"error": message}.
"""

import asyncio
import io
import sys
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from PIL import Image

from ..withanyone_core.canvas import floor_to_tokens
from ..withanyone_core.identities.identity_file import load_identity
from ..withanyone_core.regions.presets import preset_layout, row_layout
from ..withanyone_core.regions.preview import thumbnail
from .identity_files import identity_names, identity_path

THUMBNAIL_PX = 128
MOST_PEOPLE = 99
KINDS = ("preset", "row")


def register() -> None:
    """Adds the answers to ComfyUI's server, which is there before nodes are loaded; without one there is no browser."""
    # looked up, not imported: whoever uses the nodes without a server (a test, a script) shall not start to load one
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None:
        server.routes.get("/withanyone/places")(answer_places)
        server.routes.get("/withanyone/identities")(answer_identities)
        server.routes.get("/withanyone/identities/crop")(answer_crop)


def places(query: Mapping[str, str]) -> list[list[float]]:
    """Preset boxes or an even row in fractions of the canvas. Raises ValueError for a question that makes no sense."""
    kind = query.get("kind", KINDS[0])
    if kind not in KINDS:
        raise ValueError(f"The kind of places is {kind!r}; expected one of {', '.join(KINDS)}.")
    people = _whole(query, "people", 1, MOST_PEOPLE)
    width, height = floor_to_tokens(_whole(query, "width", 16, 16384), _whole(query, "height", 16, 16384))
    if kind == "row":
        layout = row_layout(people, width, height)
    else:
        layout = preset_layout(people, width, height, _whole(query, "seed", 0, 2**32 - 1))
    return [list(box.as_tuple()) for box in layout.boxes]


def saved_identities() -> list[dict[str, Any]]:
    """Every saved identity with the time of its last change, so that a browser may keep an image until then."""
    # As text: nanoseconds since 1970 are more than a number of JavaScript holds exactly.
    return [{"name": name, "changed": str(identity_path(name).stat().st_mtime_ns)} for name in identity_names()]


def crop_png(name: str) -> bytes:
    """Raises ValueError or FileNotFoundError for a name that is none, or a file that is no identity."""
    crop = (load_identity(identity_path(name)).crop * 255.0).round().byte().numpy()
    file = io.BytesIO()
    Image.fromarray(thumbnail(crop, THUMBNAIL_PX)).save(file, "PNG")
    return file.getvalue()


async def answer_places(request: web.Request) -> web.Response:
    try:
        return web.json_response({"boxes": places(request.query)})
    except ValueError as error:
        return _refused(error)


async def answer_identities(request: web.Request) -> web.Response:
    try:
        # In a thread: reading files in the server's own would hold up all its other answers.
        return web.json_response({"identities": await asyncio.to_thread(saved_identities)})
    except FileNotFoundError as error:  # deleted while they were listed
        return _refused(error)


async def answer_crop(request: web.Request) -> web.Response:
    try:
        image = await asyncio.to_thread(crop_png, request.query.get("name", ""))
    except (ValueError, FileNotFoundError) as error:
        return _refused(error)
    return web.Response(body=image, content_type="image/png")


def _whole(query: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = query.get(name, "")
    # isdigit alone also takes other scripts' digits and superscripts, which int() refuses in part.
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ValueError(f"The question's {name} is {text!r}; expected a whole number from {low} to {high}.")
    return int(text)


def _refused(error: Exception) -> web.Response:
    return web.json_response({"error": str(error)}, status=400)
