"""The list of nodes handed to ComfyUI."""

from comfy_api.latest import ComfyAPI, ComfyExtension, io

from . import (
    answers,
    applying,
    editing,
    face_layout,
    identities,
    identity_library,
    layout,
    layout_sources,
    loading,
    measuring,
    miniature,
    sampling,
    searching,
)
from .migration import register_replacements


class WithAnyoneExtension(ComfyExtension):
    async def on_load(self) -> None:
        await register_replacements(ComfyAPI())

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        people = (loading, identities, identity_library)
        places = (layout, face_layout, layout_sources)
        topics = (*people, *places, applying, sampling, searching, editing, measuring, miniature)
        return [node for topic in topics for node in topic.NODES]


def comfy_entrypoint() -> WithAnyoneExtension:
    answers.register()
    return WithAnyoneExtension()
