"""Small random stand-ins for the models too large for a test machine. For tests and the demo only.

Weights are seeded and mean nothing: an image made with them shows no likeness, only that every node runs.
"""

from comfy_api.latest import ComfyExtension, io

from .standin_clip import StandinCLIP
from .standin_drawn_faces import StandinDrawnFaces
from .standin_faces import StandinFaceAnalysis
from .standin_flux import StandinFlux
from .standin_vae import StandinVAE


class StandinExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [StandinFlux, StandinCLIP, StandinVAE, StandinFaceAnalysis, StandinDrawnFaces]


def comfy_entrypoint() -> StandinExtension:
    from .standin_probe import add_probe  # only a running server has a place for it

    add_probe()
    return StandinExtension()
