"""The list of nodes handed to ComfyUI."""

from pathlib import Path

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
    sampling,
    searching,
)
from .migration import register_replacements

MINIATURE = Path(__file__).resolve().parents[1] / "miniature"


class WithAnyoneExtension(ComfyExtension):
    # Called by ComfyUI 0.14 and newer alone.
    async def on_load(self) -> None:
        await register_replacements(ComfyAPI())

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        people = (loading, identities, identity_library)
        places = (layout, face_layout, layout_sources)
        topics = (*people, *places, applying, sampling, searching, editing, measuring)
        return [node for topic in topics for node in topic.NODES] + _miniature_loaders()


def _miniature_loaders() -> list[type[io.ComfyNode]]:
    """The loaders of the small test models; none in an installation whose owner removed miniature/."""
    if not (MINIATURE / "__init__.py").is_file():
        return []
    from . import miniature

    return list(miniature.NODES)


# Not in on_load, which older versions of ComfyUI never call.
def comfy_entrypoint() -> WithAnyoneExtension:
    answers.register()
    return WithAnyoneExtension()
