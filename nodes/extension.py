"""The list of nodes handed to ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from . import applying, identities, layout, loading, sampling


class WithAnyoneExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*loading.NODES, *identities.NODES, *layout.NODES, *applying.NODES, *sampling.NODES]


def comfy_entrypoint() -> WithAnyoneExtension:
    return WithAnyoneExtension()
