"""Where the shipped models lie and what their files are called."""

from pathlib import Path

WEIGHTS = Path(__file__).resolve().parent / "weights"

VAE = "vae"  # a folder in diffusers' form
VAE_FILE = f"{VAE}/diffusion_pytorch_model.safetensors"
FLUX = "flux.safetensors"
T5 = "t5.safetensors"
CLIP = "clip.safetensors"
T5_WORDS, CLIP_WORDS = "t5_tokenizer", "clip_tokenizer"
FACES = "faces"
SIGLIP = "siglip.safetensors"
ADAPTER = "adapter.safetensors"
JOINT_ADAPTER = "joint_adapter.safetensors"


def shipped(name: str) -> Path:
    """The file of a shipped model. FileNotFoundError where the copy of the pack lacks it."""
    path = WEIGHTS / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing. It is part of the pack: install the pack again, or train the model with "
            "python miniature/lab/train.py in a clone."
        )
    return path
