"""Lets a test ask the running server which models its memory manager holds."""

from aiohttp import web
from comfy import model_management
from server import PromptServer


async def loaded_models(request: web.Request) -> web.Response:
    models = (loaded.model for loaded in model_management.current_loaded_models)
    return web.json_response(sorted(type(patcher.model).__name__ for patcher in models if patcher is not None))


def add_probe() -> None:
    PromptServer.instance.routes.get("/standins/loaded_models")(loaded_models)
