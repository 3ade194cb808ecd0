"""Workflows of the older WithAnyone port: which of its nodes has the same meaning here.

Only the one that turns photos into face embeddings does. Its others bundle several nodes of this pack (a private
pipeline with its own FLUX and sampler), and replacing them would silently drop a box, a prompt or a model.
"""

from comfy_api.latest import io

OLD_FACE_EXTRACTOR = "WithAnyoneArcFaceExtractorNode"


async def register_replacements(api: object) -> None:
    """Offers the replacement where ComfyUI knows how (0.14 and newer); `api` is a `ComfyAPI`."""
    registry, replace = getattr(api, "node_replacement", None), getattr(io, "NodeReplace", None)
    if registry is None or replace is None:
        return
    await registry.register(
        replace(
            new_node_id="WithAnyoneIdentityFromPhotos",
            old_node_id=OLD_FACE_EXTRACTOR,
            input_mapping=[{"new_id": "photos", "old_id": "ref_img"}],
            output_mapping=[{"new_idx": 0, "old_idx": 0}],
        )
    )
