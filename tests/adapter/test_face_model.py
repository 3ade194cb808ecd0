"""An adapter only understands the face embeddings of the recognizer it was trained with."""

from dataclasses import replace

import pytest
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import ARC, random_adapter, random_tensors
from withanyone_pack.tests.identities.test_identity_file import person
from withanyone_pack.withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_pack.withanyone_core.adapter.face_model import RELEASED, check_face_model, face_model_of
from withanyone_pack.withanyone_core.adapter.shape import Branch

OTHER = "buffalo_l/w600k_r50.onnx"


def by(face_model):
    return replace(person("Ann"), face_model=face_model)


def trained_with(path, face_model):
    save_file(random_tensors(), path, metadata={"face_model": face_model})
    return inspect_adapter(path)


def of_released_size(path):
    """What the check needs of a file of 5 GB: a header without a word on face models, and the sizes."""
    file = inspect_adapter(random_adapter(path))
    return replace(file, shapes={Branch.ARC: replace(ARC, hidden=3072, layers=57)})


def test_a_trained_adapter_says_what_it_was_trained_with(tmp_path):
    assert face_model_of(trained_with(tmp_path / "a.safetensors", OTHER)) == OTHER


def test_released_adapters_were_trained_with_antelopev2(tmp_path):
    file = of_released_size(tmp_path / "a.safetensors")
    assert face_model_of(file) == RELEASED
    check_face_model(by("antelopev2/glintr100.onnx"), file)
    check_face_model(by("my pack/glintr100.onnx"), file)
    with pytest.raises(ValueError, match=r"of Ann was made by buffalo_l/w600k_r50.onnx, but a.safetensors was trained"):
        check_face_model(by(OTHER), file)


def test_what_is_unknown_passes(tmp_path):
    unknown = inspect_adapter(random_adapter(tmp_path / "a.safetensors"))
    assert face_model_of(unknown) == ""
    check_face_model(by(OTHER), unknown)
    check_face_model(by(""), trained_with(tmp_path / "b.safetensors", OTHER))
