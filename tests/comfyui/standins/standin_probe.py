"""Lets a test ask the running server which models its memory manager holds."""

from aiohttp import web
from comfy import model_management
from server import PromptServer


async def loaded_models(request: web.Request) -> web.Response:
    # the modules themselves: patchers around them come and go with every run
    models = (loaded.real_model() for loaded in model_management.current_loaded_models if loaded.real_model)
    return web.json_response(sorted(type(model).__name__ for model in models if model is not None))


def add_probe() -> None:
    PromptServer.instance.routes.get("/standins/loaded_models")(loaded_models)
