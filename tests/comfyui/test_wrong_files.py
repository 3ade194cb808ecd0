"""Other files in a model's place: every loader says what they are, as the check command does."""

import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

import folder_paths
from withanyone_pack.nodes.identity_library import LoadIdentity
from withanyone_pack.nodes.loading import AddAdapterLora, LoadAdapter, LoadFaceAnalysis, LoadSigLIP
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.tests.faces.small_pack import DETECTOR, write_pack
from withanyone_pack.tests.identities.test_identity_file import person
from withanyone_pack.withanyone_core.identities.identity_file import save_identity
from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter

NAME = "given.safetensors"
PAGE = b"<!DOCTYPE html><html>log in</html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5563000000\n"
WORDS = {
    PAGE: r"\(web page\)\. A web page was saved in its place; the site asks for a login",
    POINTER: r"\(git-LFS pointer\)\. This is the pointer of a file, not the file; run `git lfs pull`",
    pickle.dumps({"ipa.0": 1}): r"\(pickle \(not opened\)\)\. It can run code when opened, so it was not opened",
    b"PK\x03\x04 as torch.save writes it": r"\(pickle \(not opened\)\)",
    b"": r"\(empty file\)\. The file is empty; fetch it again",
    b"Entry not found": r"\(text\)\. It begins with “Entry not found”",
    b"GGUF" + struct.pack("<IQQ", 3, 0, 0): r"\(GGUF\)",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One folder for every kind of model, and for saved people."""
    known = dict(folder_paths.folder_names_and_paths)
    for key in ("withanyone", "withanyone_loras", "clip_vision", "insightface"):
        known[key] = ([str(tmp_path)], {".safetensors", ".onnx"})
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    (tmp_path / "identities").mkdir()
    return tmp_path


def adapter(folder):
    return ComfyAdapter.open(random_adapter(folder / "adapter.safetensors"))


LOADERS = {
    "Load WithAnyone Adapter": lambda folder: LoadAdapter.execute(NAME, "as stored"),
    "Add Adapter LoRA": lambda folder: AddAdapterLora.execute(adapter(folder), NAME, 1.0),
    "Load SigLIP": lambda folder: LoadSigLIP.execute(NAME),
    "Load Identity": lambda folder: LoadIdentity.execute(
        f"{(folder / NAME).rename(folder / 'identities' / NAME).name} [input]"
    ),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("content", WORDS)
def test_what_is_no_safetensors_file_is_named_for_what_it_is(folder, loader, content):
    (folder / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=rf"given\.safetensors is not a safetensors file {WORDS[content]}"):
        LOADERS[loader](folder)


@pytest.mark.parametrize("content", [PAGE, POINTER])
def test_so_is_what_is_no_onnx_file(folder, content):
    pack = write_pack(folder / "models/antelopev2")
    (pack / DETECTOR).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{DETECTOR} is not an ONNX file {WORDS[content]}"):
        LoadFaceAnalysis.execute("antelopev2", "CPU", 640, 0.5)


def low_rank(target):
    return {f"{target}.lora_A.weight": torch.zeros(4, 64), f"{target}.lora_B.weight": torch.zeros(64, 4)}


FLUX_PEFT = low_rank("transformer.single_transformer_blocks.3.attn.to_q")
FLUX_KOHYA = {
    "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.zeros(4, 64),
    "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.zeros(64, 4),
}
LORA_WORDS = r"It is: Flux LoRA\. It fits with: Load LoRA \(LoraLoader\), before Apply WithAnyone \(models/loras\)"
ADAPTER_LORA_WORDS = r"It is: WithAnyone adapter LoRA\. It fits with: Add Adapter LoRA"
VAE = {"decoder.conv_in.weight": torch.zeros(8, 16, 3, 3), "encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}


@pytest.mark.parametrize(
    ("loader", "tensors", "words"),
    [
        ("Add Adapter LoRA", FLUX_PEFT, LORA_WORDS),
        ("Add Adapter LoRA", FLUX_KOHYA, LORA_WORDS),
        ("Add Adapter LoRA", VAE, r"It is: VAE with 16 channels, as FLUX\.1's"),
        (
            "Add Adapter LoRA",
            {"ipa.0.to_q.weight": torch.zeros(2, 2)},
            "It is: WithAnyone adapter.*Load WithAnyone Adapter",
        ),
        ("Load WithAnyone Adapter", FLUX_PEFT, LORA_WORDS),
        ("Load WithAnyone Adapter", FLUX_KOHYA, LORA_WORDS),
        ("Load WithAnyone Adapter", low_rank("ipa_arc.0.to_q"), ADAPTER_LORA_WORDS),
        ("Load SigLIP", FLUX_PEFT, LORA_WORDS),
        ("Load SigLIP", VAE, r"is not a SigLIP vision tower\. It is: VAE with 16 channels"),
        ("Load Identity", VAE, r"is not an identity.*It is: VAE with 16 channels"),
        ("Load Identity", FLUX_PEFT, LORA_WORDS),
    ],
)
def test_models_of_another_kind_are_sent_to_their_own_loader(folder, loader, tensors, words):
    save_file(tensors, folder / NAME)
    with pytest.raises(ValueError, match=words):
        LOADERS[loader](folder)


@pytest.mark.parametrize("loader", ["Load WithAnyone Adapter", "Add Adapter LoRA", "Load SigLIP"])
def test_a_saved_person_is_sent_to_load_identity(folder, loader):
    save_identity(person(), folder / NAME)
    with pytest.raises(ValueError, match=r"It is: WithAnyone identity\. It fits with: Load Identity"):
        LOADERS[loader](folder)


def test_a_file_that_was_cut_off_is_still_called_that(folder):
    path = random_adapter(folder / NAME)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"not a whole safetensors file .*The download was probably cut off"):
        LOADERS["Load WithAnyone Adapter"](folder)
