"""Whose face embeddings an adapter was trained with: those of another recognizer mean nothing to it."""

from ..base_models.flux1 import FLUX_1
from ..identity import Identity
from .checkpoint import AdapterFile, opened

METADATA_KEY = "face_model"  # of the file's safetensors header; adapters from training have it, released ones do not
RELEASED = "antelopev2/glintr100.onnx"


def face_model_of(file: AdapterFile) -> str:
    """Pack and recognizer as in `Identity.face_model`; empty where neither the file nor its size tells."""
    with opened(file) as reader:
        written = (reader.metadata() or {}).get(METADATA_KEY, "")
    # Every released adapter is for a published FLUX.1, and none was trained with another recognizer.
    released = any(FLUX_1.named(shape.layers, shape.hidden) for shape in file.shapes.values())
    return written or (RELEASED if released else "")


def check_face_model(identity: Identity, file: AdapterFile) -> None:
    """ValueError where the person's face embedding is of another recognizer than the adapter was trained with.

    Recognizers are told apart by their file's name, for a pack's folder may be called anything. An unknown one passes.
    """
    expected = face_model_of(file)
    known = expected and identity.face_model
    if known and _recognizer(identity.face_model) != _recognizer(expected):
        raise ValueError(
            f"The face embedding of {identity.name} was made by {identity.face_model}, but {file.path.name} was "
            f"trained with {expected}; to it such an embedding is a stranger's. Make the identity with the pack "
            f"{expected.split('/')[0]} in Load Face Analysis, or use an adapter trained with the other."
        )


def _recognizer(face_model: str) -> str:
    return face_model.rsplit("/", 1)[-1]
