"""Model files that are a true header over a hole, and the command on them."""

import json
import struct
from math import prod

from withanyone_pack.withanyone_core.adapter.shape import BranchShape
from withanyone_pack.withanyone_core.check.__main__ import main

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1}
RELEASED_ARC = BranchShape(hidden=3072, heads=24, layers=57, arc_tokens=8, embedding=512)
RELEASED_SIG = BranchShape(hidden=3072, heads=24, layers=57, arc_tokens=8, embedding=512, siglip_width=768)


def header_only(path, shapes, dtype="BF16", dtypes=None, metadata=None):
    """A safetensors file of any size that takes no space: a true header over a hole."""
    header, end = ({"__metadata__": metadata} if metadata else {}), 0
    for key, shape in shapes.items():
        kind = (dtypes or {}).get(key, dtype)
        begin, end = end, end + prod(shape) * BYTES[kind]
        header[key] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    words = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        file.truncate(8 + len(words) + end)
    return path


def stack(prefix, count, names):
    return {f"{prefix}.{index}.{name}": shape for index in range(count) for name, shape in names.items()}


def flux(doubles=19, singles=38, width=3072, channels=64, guidance=True, prefix=""):
    shapes = stack("double_blocks", doubles, {"img_attn.proj.weight": (8, 8), "img_attn.proj.bias": (8,)})
    shapes |= stack("single_blocks", singles, {"linear1.weight": (8, 8), "norm.query_norm.scale": (8,)})
    shapes |= {"img_in.weight": (width, channels), "img_in.bias": (width,)}
    shapes |= {"guidance_in.in_layer.weight": (width, 8)} if guidance else {}
    return {f"{prefix}{key}": shape for key, shape in shapes.items()}


def siglip(width=768, layers=12, mlp=3072, patches=256):
    shapes = stack("vision_model.encoder.layers", layers, {"mlp.fc1.weight": (mlp, width), "mlp.fc1.bias": (mlp,)})
    return shapes | {
        "vision_model.embeddings.patch_embedding.weight": (width, 3, 16, 16),
        "vision_model.embeddings.patch_embedding.bias": (width,),
        "vision_model.embeddings.position_embedding.weight": (patches, width),
        "vision_model.post_layernorm.weight": (width,),
        "vision_model.post_layernorm.bias": (width,),
    }


WORDS = "text_model.embeddings.token_embedding.weight"
CLIP_L = stack("text_model.encoder.layers", 12, {"mlp.fc1.weight": (8, 8)}) | {WORDS: (49408, 768)}
T5 = stack("encoder.block", 24, {"layer.0.SelfAttention.q.weight": (8, 8)}) | {"shared.weight": (32128, 4096)}
VAE = {"decoder.conv_in.weight": (512, 16, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}
VAE_2 = VAE | {"decoder.conv_in.weight": (512, 32, 3, 3), "bn.running_mean": (128,)}
QWEN = stack("model.layers", 36, {"self_attn.q_proj.weight": (8, 8)}) | {"model.embed_tokens.weight": (151_936, 2560)}
PAIR = {"lora_A.weight": (16, 3072), "lora_B.weight": (3072, 16)}
CLIP_VISION = {
    "vision_model.embeddings.class_embedding": (1280,),
    "vision_model.embeddings.patch_embedding.weight": (1280, 3, 14, 14),
    "vision_model.embeddings.position_embedding.weight": (257, 1280),
}


def check(capsys, *arguments):
    """Exit status and the findings of --json."""
    status = main(["--json", *map(str, arguments)])
    return status, json.loads(capsys.readouterr().out)


def one(capsys, path, *options, status=0):
    found, (finding,) = check(capsys, "--no-hash", *options, path)
    assert found == status, finding
    assert finding["sound"] == (status == 0)
    return finding
