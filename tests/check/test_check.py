import pickle
import re
import struct
from random import Random

import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG, random_adapter, random_tensors
from withanyone_pack.tests.check.model_files import (
    BYTES,
    CLIP_L,
    CLIP_VISION,
    PAIR,
    QWEN,
    T5,
    VAE,
    VAE_2,
    WORDS,
    check,
    flux,
    header_only,
    one,
    siglip,
    stack,
)
from withanyone_pack.withanyone_core.adapter.checkpoint import expected_keys
from withanyone_pack.withanyone_core.check.__main__ import main
from withanyone_pack.withanyone_core.download.published import FACE_PACK_SHA256, published_name
from withanyone_pack.withanyone_core.files.digest import file_sha256
from withanyone_pack.withanyone_core.identities.identity_file import save_identity
from withanyone_pack.withanyone_core.identity import Identity


@pytest.mark.parametrize(
    ("shapes", "name", "fits"),
    [
        (flux(), "FLUX.1-dev, FLUX.1-Kontext-dev", "withanyone.safetensors on dev"),
        (flux(prefix="model.diffusion_model."), "FLUX.1-dev, FLUX.1-Kontext-dev", "released adapters"),
        (flux(guidance=False), "FLUX.1-schnell", "untested"),
        (flux(channels=384), "FLUX.1-Fill-dev", "untested"),
        (flux(channels=128), "FLUX.1-Depth-dev or FLUX.1-Canny-dev", "untested"),
        (flux(doubles=2, singles=3, width=128), "Flux of another size", "trained with this size"),
        (flux(8, 48, 6144) | {"double_stream_modulation_img.lin.weight": (8, 8)}, "FLUX.2-dev or", "not the released"),
        (flux(5, 20, 3072) | {"double_stream_modulation_img.lin.weight": (8, 8)}, "FLUX.2-klein-4B", "trained on it"),
        (flux(guidance=False) | {"distilled_guidance_layer.norms.0.scale": (8,)}, "Chroma", "not the released"),
        (siglip(), "SigLIP base for 256 pixels", "if it is the i18n one"),
        (siglip() | {WORDS: (250_000, 8)}, "SigLIP base for 256 pixels, i18n", "every released adapter"),
        (siglip() | {WORDS: (32_000, 8)}, "SigLIP base for 256 pixels, of the English", "not the released"),
        (siglip(64, 3, 128), "small SigLIP vision tower", "trained with this tower"),
        (siglip(1152, 27, 4304, 729), "SigLIP vision tower 1152 wide", "not WithAnyone"),
        (CLIP_VISION, "CLIP vision tower", "not WithAnyone"),
        (CLIP_L, "CLIP-L text encoder", "DualCLIPLoader"),
        (T5, "T5-XXL text encoder", "DualCLIPLoader"),
        (T5 | {"shared.weight": (256_384, 4096)}, "UMT5", "not FLUX.1"),
        (VAE, "VAE with 16 channels", "FLUX.1 (models/vae)"),
        (VAE | {"decoder.conv_in.weight": (512, 4, 3, 3)}, "VAE of SD or SDXL", "neither FLUX.1 nor"),
        (VAE_2, "VAE with 32 channels", "FLUX.2 (models/vae)"),
        (QWEN, "language model of Qwen3-4B's width", "FLUX.2-klein-4B, as its text encoder"),
        (QWEN | {"model.embed_tokens.weight": (32000, 1024)}, "language model", "nothing WithAnyone uses"),
        (stack("diffusion_model.double_blocks.0.img_attn", 1, PAIR), "Flux LoRA", "LoraLoader"),
        (
            {
                "lora_unet_double_blocks_0_img_mlp_0.lora_down.weight": (4, 3072),
                "lora_unet_double_blocks_0_img_mlp_0.lora_up.weight": (3072, 4),
                "lora_unet_double_blocks_0_img_mlp_0.alpha": (),
            },
            "Flux LoRA",
            "LoraLoader",
        ),
        ({f"ipa_arc.0.to_q.{key}": shape for key, shape in PAIR.items()}, "WithAnyone adapter LoRA", "Adapter LoRA"),
        ({f"lora_unet_down_blocks_0.{key}": shape for key, shape in PAIR.items()}, "LoRA for another", "nothing"),
    ],
)
def test_kinds_are_told_apart_by_keys_and_shapes(tmp_path, capsys, shapes, name, fits):
    finding = one(capsys, header_only(tmp_path / "x.safetensors", shapes))
    assert finding["is"].startswith(name)
    assert fits in finding["fits"]


@pytest.mark.parametrize(
    ("extra", "dtype", "words"),
    [
        ({}, "F8_E4M3", "fp8 (F8_E4M3)"),
        ({"double_blocks.0.img_attn.proj.scale_weight": "F32"}, "F8_E4M3", "scaled fp8 (F8_E4M3)"),
        ({"double_blocks.0.img_attn.proj.weight_scale_2": "F32"}, "U8", "NVFP4"),
        ({"double_blocks.0.img_attn.proj.weight.quant_state.bitsandbytes__nf4": "U8"}, "U8", "bitsandbytes, NF4"),
    ],
)
def test_the_packing_of_flux_is_named(tmp_path, capsys, extra, dtype, words):
    path = header_only(tmp_path / "x.safetensors", flux() | dict.fromkeys(extra, (1,)), dtype, extra)
    assert one(capsys, path)["facts"]["stored as"] == words


def test_a_model_with_a_gap_is_not_complete(tmp_path, capsys):
    shapes = flux()
    del shapes["single_blocks.17.linear1.weight"]
    (fault,) = one(capsys, header_only(tmp_path / "x.safetensors", shapes), status=1)["wrong"]
    assert "single_blocks.17.linear1.weight" in fault


def test_a_full_checkpoint_says_what_else_it_holds(tmp_path, capsys):
    shapes = flux(prefix="model.diffusion_model.") | {"vae.decoder.conv_in.weight": (8,), "text_encoders.x": (1,)}
    assert one(capsys, header_only(tmp_path / "x.safetensors", shapes))["facts"]["also holds"] == [
        "VAE",
        "text encoders",
    ]


def gguf(shapes):
    def text(words):
        return struct.pack("<Q", len(words)) + words.encode()

    body = text("general.architecture") + struct.pack("<I", 8) + text("flux")
    body += text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    for name, shape in shapes.items():
        body += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], 12, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, len(shapes), 2) + body


def test_gguf_is_read_by_its_magic(tmp_path, capsys):
    (tmp_path / "x.gguf").write_bytes(gguf(flux()))
    finding = one(capsys, tmp_path / "x.gguf")
    assert finding["is"].startswith("FLUX.1-dev")
    assert finding["facts"]["stored as"] == "Q4_K"
    assert finding["header"] == {"general.architecture": "flux", "tokens": "list of 2"}


def test_a_gguf_cut_anywhere_in_its_header_is_an_error(tmp_path, capsys):
    whole = gguf({"a": (2, 3), "b": (4,)})
    for length in range(4, len(whole)):
        (tmp_path / "x.gguf").write_bytes(whole[:length])
        assert one(capsys, tmp_path / "x.gguf", status=1)


def test_an_identity_is_recognized_and_a_flipped_bit_in_it_too(tmp_path, capsys):
    path = tmp_path / "ann.safetensors"
    save_identity(Identity("Ann", torch.ones(512), None, torch.zeros(512, 512, 3)), path)
    finding = one(capsys, path)
    assert finding["is"] == "WithAnyone identity"
    assert finding["facts"]["name"] == "Ann"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "damaged" in one(capsys, path, status=1)["is"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.pt", pickle.dumps({"a": 1}), "pickle (not opened)"),
        ("x.safetensors", pickle.dumps({"a": 1}), "pickle (not opened)"),
        ("x.ckpt", b"PK\x03\x04rest", "pickle (not opened)"),
        ("x.safetensors", b"", "empty file"),
        ("x.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-LFS pointer"),
        ("x.safetensors", b"<!DOCTYPE html><html>log in</html>", "web page"),
        ("x.safetensors", struct.pack("<Q", 100) + b"{", "unknown file"),
        ("x.onnx", b"\x0a\xff\xff", "ONNX file, damaged"),
    ],
)
def test_what_is_no_model_is_named_and_fails(tmp_path, capsys, name, content, words):
    (tmp_path / name).write_bytes(content)
    finding = one(capsys, tmp_path / name, status=1)
    assert finding["is"] == words
    assert len(finding["wrong"]) == 1


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_no_pickle_is_ever_executed(tmp_path, capsys):
    for suffix in ("pt", "safetensors", "gguf", "onnx", "bin"):
        path = tmp_path / f"x.{suffix}"
        torch.save(Bomb(), path)
        assert one(capsys, path, status=1)


def test_a_length_that_looks_like_a_pickle_does_not_hide_a_safetensors_file(tmp_path, capsys):
    for length in (0x80, 0x280):
        words = b'{"decoder.conv_in.weight":{"dtype":"U8","shape":[1,16,1,1],"data_offsets":[0,16]}}'.ljust(length)
        (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length) + words + bytes(16))
        assert "VAE" in one(capsys, tmp_path / "x.safetensors", status=1)["is"]


def onnx_graph(path, side, outputs):
    onnx = pytest.importorskip("onnx")
    info = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Identity", ["input"], [f"out{index}"]) for index in range(outputs)]
    left = [info(f"out{index}", onnx.TensorProto.FLOAT, ["n", 512]) for index in range(outputs)]
    entered = [info("input", onnx.TensorProto.FLOAT, ["n", 3, side, side])]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", entered, left)), path)


def test_a_face_pack_and_its_graphs_are_recognized_one_folder_too_deep_as_well(tmp_path, capsys):
    inner = tmp_path / "antelopev2" / "antelopev2"
    inner.mkdir(parents=True)
    onnx_graph(inner / "scrfd.onnx", 640, 9)
    status, (pack, _) = check(capsys, "--no-hash", tmp_path / "antelopev2")
    assert status == 1
    assert "no recognizer" in pack["wrong"][0]
    onnx_graph(inner / "glintr100.onnx", 112, 1)
    status, (pack, recognizer, detector) = check(capsys, tmp_path / "antelopev2")
    assert status == 0
    assert pack["facts"] == {
        "files": {"glintr100.onnx": "recognizer", "scrfd.onnx": "detector"},
        "one folder too deep": True,
    }
    assert recognizer["facts"]["inputs"] == {"input": ["n", 3, 112, 112]}
    assert recognizer["facts"]["outputs"] == {"out0": ["n", 512]}
    assert detector["is"] == "ONNX face detector with landmarks"


def test_a_folder_is_searched_and_one_bad_file_fails_the_whole(tmp_path, capsys):
    (tmp_path / "models" / "vae").mkdir(parents=True)
    header_only(tmp_path / "models" / "vae" / "ae.safetensors", VAE)
    (tmp_path / "models" / "readme.txt").write_text("not a model")
    status, findings = check(capsys, tmp_path / "models")
    assert (status, len(findings)) == (0, 1)
    (tmp_path / "models" / "x.ckpt").write_bytes(b"PK\x03\x04")
    assert check(capsys, tmp_path / "models")[0] == 1


def test_a_missing_file_is_said(tmp_path, capsys):
    assert "no such file" in one(capsys, tmp_path / "none", status=1)["wrong"][0]


def test_the_text_has_hash_header_and_what_it_fits(tmp_path, capsys):
    path = header_only(tmp_path / "ae.safetensors", VAE, "F32", metadata={"comment": "x" * 1000})
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    for words in (file_sha256(path), "fits with", "2 F32", "(1009 characters)"):
        assert words in out
    assert "x" * 300 not in out


def test_a_published_file_is_named_by_its_hash():
    digest = next(iter(FACE_PACK_SHA256.values()))
    assert published_name(digest) == "scrfd_10g_bnkps.onnx of antelopev2"
    assert published_name("0" * 64) is None


def test_single_files_of_the_training_program_are_told_apart(tmp_path, capsys):
    arc = one(capsys, random_adapter(tmp_path / "arc.safetensors", shapes=(ARC,), layout="single"))
    sig = one(capsys, random_adapter(tmp_path / "sig.safetensors", shapes=(SIG,), layout="single"))
    assert "arc branch" in arc["facts"]
    assert "sig branch" in sig["facts"]


def test_damaged_headers_end_in_a_readable_error_never_in_a_crash(tmp_path, capsys):
    """Shapes, types and names mutated at random, in files that are safetensors all the same."""
    random = Random(7)
    samples = [flux(2, 2, 64), siglip(64, 2, 128), CLIP_VISION, CLIP_L, T5, VAE]
    samples += [expected_keys(SIG, "single"), stack("double_blocks.0.x", 1, PAIR)]
    numbers = ["0", "7", "x", "", "9" * 30]
    for case in range(300):
        shapes = dict(samples[case % len(samples)])
        for key in random.sample(sorted(shapes), min(3, len(shapes))):
            shape = shapes.pop(key)
            key = random.choice([key, key, re.sub(r"\d+", random.choice(numbers), key, count=1), key[: len(key) // 2]])
            if key:
                shapes[key] = random.choice([shape, shape[:-1], (*shape, 2), (), (0,), tuple(0 for _ in shape), (5,)])
        path = header_only(tmp_path / "x.safetensors", shapes, random.choice(list(BYTES)))
        status, (finding,) = check(capsys, "--no-hash", path)
        assert status == (0 if finding["sound"] else 1)
        assert finding["is"]
        assert finding["fits"]


def test_an_endless_layer_number_is_an_unknown_tensor(tmp_path, capsys):
    tensors = random_tensors() | {f"ipa_arc.{'9' * 30}.to_q.weight": torch.zeros(1)}
    save_file(tensors, tmp_path / "a.safetensors")
    facts = one(capsys, tmp_path / "a.safetensors")["facts"]
    assert facts["unknown tensors left out"] == [f"ipa_arc.{'9' * 30}.to_q.weight"]
    assert facts["arc branch"].startswith("5 layers")
