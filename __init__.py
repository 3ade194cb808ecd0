"""ComfyUI's front door to the WithAnyone nodes."""

if __package__:  # loaded by ComfyUI as a package; a bare import (pytest collecting the root) has nothing to show
    from .nodes.extension import comfy_entrypoint

    __all__ = ["comfy_entrypoint"]
