import asyncio

from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from comfy_api.latest import io
from withanyone_pack.nodes import migration
from withanyone_pack.nodes.identities import IdentityFromPhotos


class Replacement:
    """What ComfyUI 0.14 and newer calls io.NodeReplace."""

    def __init__(self, new_node_id, old_node_id, old_widget_ids=None, input_mapping=None, output_mapping=None):
        self.new_node_id, self.old_node_id = new_node_id, old_node_id
        self.input_mapping, self.output_mapping = input_mapping, output_mapping


class Api:
    def __init__(self):
        self.registered = []
        self.node_replacement = self

    async def register(self, replacement):
        self.registered.append(replacement)


def test_the_older_ports_face_extractor_becomes_identity_from_photos(monkeypatch):
    monkeypatch.setattr(io, "NodeReplace", Replacement, raising=False)
    api = Api()
    asyncio.run(migration.register_replacements(api))
    (found,) = api.registered
    schema = IdentityFromPhotos.GET_SCHEMA()
    assert (found.new_node_id, found.old_node_id) == (schema.node_id, "WithAnyoneArcFaceExtractorNode")
    inputs = [entry.id for entry in schema.inputs]
    assert all(mapping["new_id"] in inputs for mapping in found.input_mapping)
    assert found.output_mapping == [{"new_idx": 0, "old_idx": 0}]


def test_a_comfyui_without_replacements_is_left_alone():
    assert asyncio.run(migration.register_replacements(object())) is None
