"""ComfyUI's front door to the WithAnyone nodes."""

if __package__:  # loaded by ComfyUI as a package; a bare import (pytest collecting the root) has nothing to show
    from .nodes.extension import comfy_entrypoint

    WEB_DIRECTORY = "./nodes/web"  # served to the browser: widgets, and docs/ for the help panel

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
