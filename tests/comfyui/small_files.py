"""Small random adapters, a LoRA and a SigLIP in the layout of the released files, for the real loaders.

Their names are those of the shipped workflows, so that these loader nodes run untouched.
"""

import runpy
from math import prod
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from torch import Tensor

# Read by path: its package imports ComfyUI.
sizes = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("standins") / "standin_sizes.py")))

ADAPTER = "withanyone.safetensors"
KE = "withanyone.ke.safetensors"
LORA, RANK = "style.safetensors", 4
SIGLIP = "siglip-base-patch16-256-i18n.safetensors"
SIGLIP_WIDTH, SIGLIP_MLP, SIGLIP_LAYERS = 64, 128, 3
LAYERS = sizes.DOUBLE_BLOCKS + sizes.SINGLE_BLOCKS
STRENGTH = 2.0  # of the identity attention's output: visible in an image, far from drowning it

Shapes = dict[str, tuple[int, ...]]


def mlp(name: str, entered: int, middle: int, left: int) -> Shapes:
    linear = {f"{name}.0": (middle, entered), f"{name}.3": (left, middle)}
    return {
        **{f"{layer}.weight": size for layer, size in linear.items()},
        **{f"{layer}.bias": size[:1] for layer, size in linear.items()},
        **{f"{name}.2.{kind}": (middle,) for kind in ("weight", "bias")},
    }


def adapter_shapes() -> Shapes:
    return mlp("siglip_in_sig", SIGLIP_WIDTH, sizes.HIDDEN, sizes.HIDDEN) | arc_shapes("_arc") | arc_shapes("_sig")


def arc_shapes(branch: str = "") -> Shapes:
    """A branch's identity attentions and ArcFace projector; without a name those of a file with only this branch."""
    hidden, inner = sizes.HIDDEN, 64 * sizes.HEADS
    shapes = mlp(f"arcface_in{branch}", 512, 4 * hidden, 8 * hidden)
    for layer in range(LAYERS):
        name = f"ipa{branch}.{layer}"
        shapes |= {f"{name}.norm{n}.{kind}": (hidden,) for n in (1, 2) for kind in ("weight", "bias")}
        shapes |= {f"{name}.to_q.weight": (inner, hidden), f"{name}.to_kv.weight": (2 * inner, hidden)}
        shapes |= {f"{name}.to_out.weight": (hidden, inner)}
    return shapes


def lora_shapes() -> Shapes:
    """A LoRA on every kind of FLUX.1's wide layers that it commonly changes."""
    hidden = sizes.HIDDEN
    layers = {"double_blocks.0.img_attn.qkv": (3 * hidden, hidden), "double_blocks.0.img_mlp.0": (4 * hidden, hidden)}
    layers |= {"single_blocks.0.linear1": (7 * hidden, hidden), "single_blocks.0.linear2": (hidden, 5 * hidden)}
    return {
        f"diffusion_model.{layer}.{part}.weight": size
        for layer, (left, entered) in layers.items()
        for part, size in (("lora_A", (RANK, entered)), ("lora_B", (left, RANK)))
    }


def siglip_shapes() -> Shapes:
    width, tower = SIGLIP_WIDTH, "vision_model"
    shapes = {
        f"{tower}.embeddings.patch_embedding.weight": (width, 3, 16, 16),
        f"{tower}.embeddings.patch_embedding.bias": (width,),
        f"{tower}.embeddings.position_embedding.weight": (256, width),
        f"{tower}.post_layernorm.weight": (width,),
        f"{tower}.post_layernorm.bias": (width,),
    }
    linear = {f"self_attn.{part}_proj": (width, width) for part in "qkv"} | {"self_attn.out_proj": (width, width)}
    linear |= {"mlp.fc1": (SIGLIP_MLP, width), "mlp.fc2": (width, SIGLIP_MLP)}
    for layer in range(SIGLIP_LAYERS):
        block = f"{tower}.encoder.layers.{layer}"
        shapes |= {f"{block}.{name}.weight": size for name, size in linear.items()}
        shapes |= {f"{block}.{name}.bias": size[:1] for name, size in linear.items()}
        shapes |= {f"{block}.layer_norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
    return shapes


def random_weights(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Matrices N(0, 1/fan_in), other weights 1, biases 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, size in shapes.items():
        if len(size) > 1:
            weights[name] = torch.randn(size, generator=generator) * prod(size[1:]) ** -0.5
        else:
            weights[name] = torch.full(size, float(name.endswith("weight")))
    return weights


def adapter(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    weights = random_weights(shapes, seed)
    for name, weight in weights.items():
        if name.endswith("to_out.weight"):
            weight.mul_(STRENGTH)
    return weights


def write_small_files(models: Path) -> None:
    """Writes withanyone/, clip_vision/ and loras/ files into a models folder."""
    for folder, name, weights in (
        ("withanyone", ADAPTER, adapter(adapter_shapes(), seed=4)),
        ("withanyone", KE, adapter(arc_shapes(), seed=6)),
        ("clip_vision", SIGLIP, random_weights(siglip_shapes(), seed=5)),
        ("loras", LORA, random_weights(lora_shapes(), seed=7)),
    ):
        (models / folder).mkdir(parents=True, exist_ok=True)
        save_file({key: weight.to(torch.bfloat16) for key, weight in weights.items()}, models / folder / name)
