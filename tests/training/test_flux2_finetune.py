"""finetune.py and doctor.py on a small FLUX.2 klein: a few steps, a validation, and an adapter that names its base."""

import io

import pytest
from withanyone_pack.tests.adapter.random_adapter import random_tensors
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from safetensors import safe_open
from safetensors.torch import save_file
from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_iresnet import export as export_recognizer
from withanyone_pack.tests.training.small_iresnet import iresnet
from withanyone_pack.tests.training.test_doctor import ARC, FLUX, write_photos
from withanyone_pack.tests.training.test_flux2 import SMALL_BASES, flux2_vae, written

from training import finetune
from training.base.files import fingerprint
from training.cache.files import write_cache
from training.cache.shards import Shards, ShardWriter
from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings
from training.memory.preflight import preflight
from withanyone_core.adapter.base import base_of
from withanyone_core.adapter.checkpoint import inspect_adapter
from withanyone_core.base_models.flux2 import FLUX_2
from withanyone_core.files.digest import file_sha256


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Every file of a run."""
    folder = tmp_path_factory.mktemp("klein")
    export_recognizer(iresnet(units=(1, 1), widths=(4, 8), embedding=512), folder / "face.onnx")
    written(folder / "flux2-vae.safetensors", flux2_vae().state_dict())
    written(folder / "klein.safetensors", SMALL_BASES["flux.2"](FLUX).model.diffusion_model.state_dict())
    photos = small_cache(size_px=64)
    texts = {name: value for name, value in photos.tensors.items() if name.endswith(".t5")}
    tensors = {name: value for name, value in photos.tensors.items() if not name.endswith((".t5", ".pooled"))}
    tensors |= {name.replace(".t5", ".states"): value for name, value in texts.items()}
    writer = ShardWriter(Shards(folder / "cache" / "shards"))
    writer.put(tensors)
    writer.flush()
    files = {"vae": fingerprint(folder / "flux2-vae.safetensors"), "face": file_sha256(folder / "face.onnx")}
    own = {"files": files, "base": "flux.2", "texts": ("states",)}
    write_cache(folder / "cache", type(photos)(**{**vars(photos), **own}))
    return folder


def given(place, *changes):
    return [
        f"out={place / 'run'}",
        f"base.path={place / 'klein.safetensors'}",
        f"base.vae={place / 'flux2-vae.safetensors'}",
        "base.precision=fp8",
        "adapter.init=none",
        "adapter.heads=1",
        "adapter.tokens=4",
        f"data.cache={place / 'cache'}",
        f"id_loss.recognizer={place / 'face.onnx'}",
        "id_loss.max_sigma=1",
        "nce.negatives=16",
        "train.mode=kv_out",
        "optim.steps=2",
        "optim.gradient_accumulation_steps=1",
        "memory.gradient_checkpointing=true",
        "memory.blocks_to_swap=2",
        "validation.every_steps=2",
        "validation.num_images=1",
        "validation.sampling_steps=2",
        "validation.num_sigmas=2",
        "save.every_steps=2",
        "device=cpu",
        *changes,
    ]


def command(place, *changes):
    """As it is called: a recipe, here an empty one, and settings."""
    recipe = place / "recipe.yaml"
    recipe.write_text("{}\n")
    return [str(recipe), *given(place, *changes)]


def test_the_doctor_predicts_what_two_steps_take(place):
    out = io.StringIO()
    is_well = preflight(read_settings(Finetune, None, given(place)), None, True, out)
    assert is_well, out.getvalue()
    for words in ("klein.safetensors: FLUX.2 of 2 + 3 blocks, width 64", "within 10 %"):
        assert words in out.getvalue()


def test_a_few_steps_give_an_adapter_that_names_its_base(place):
    assert finetune.main(command(place)) == 0
    result = place / "run" / "adapter.safetensors"
    with safe_open(result, framework="pt") as reader:
        header = reader.metadata()
    assert header["base_model"] == "flux.2"
    assert header["modelspec.architecture"] == "flux-2/withanyone"
    file = inspect_adapter(result)
    assert base_of(file) is FLUX_2
    assert {shape.layers for shape in file.shapes.values()} == {5}
    (preview,) = (place / "run" / "previews" / "step-000002").glob("*.png")
    assert preview.stat().st_size > 0


def test_an_adapter_and_photos_of_another_base_are_refused(place, tmp_path, capsys):
    save_file(random_tensors(shapes=(ARC,)), tmp_path / "first.safetensors", {"base_model": "flux.1"})
    other = [f"adapter.init={tmp_path / 'first.safetensors'}", f"out={tmp_path / 'run'}", "train.mode=lora"]
    assert finetune.main(command(place, *other)) != 0
    assert "first.safetensors was trained for FLUX.1, and base.path is FLUX.2" in capsys.readouterr().err
    written(tmp_path / "ae.safetensors", flux2_vae().state_dict())
    write_photos(tmp_path / "cache", tmp_path_with_faces(place, tmp_path))
    assert finetune.main(command(place, f"data.cache={tmp_path / 'cache'}", f"out={tmp_path / 'run'}")) != 0
    assert "The photos were prepared for FLUX.1, and the base model is FLUX.2" in capsys.readouterr().err


def tmp_path_with_faces(place, folder):
    (folder / "face.onnx").write_bytes((place / "face.onnx").read_bytes())
    return folder
