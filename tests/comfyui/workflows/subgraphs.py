"""The subgraphs of the shipped workflows, which are blueprints too: nodes by their titles in definitions.py."""

from . import parts
from .folding import Fold

PEOPLE = Fold(
    "Two people",
    (("Face models", "SigLIP"), ("Person 1", "Person 2"), ("Person 1 into a place", "Person 2 into a place")),
    "Two people from a photo each, put into boxes 1 and 2 of a layout.",
    outside=(("Face models", "pack"), ("SigLIP", "siglip_name")),
    names=(("Person 1", "photos", "photo of person 1"), ("Person 2", "photos", "photo of person 2")),
)
SAMPLING = Fold(
    "Sampling as released",
    (
        (f"T5 sees {parts.T5_TOKENS} tokens", "Prompt", "Guidance"),
        ("Guider", "Sampler", "Empty canvas"),
        ("Noise", "Released schedule", "Sample"),
        ("VAE", "Decode"),
    ),
    "From a patched FLUX.1 and a prompt to images, with the released program's schedule, guidance and prompt length.",
    outside=(
        ("Prompt", "text"),
        ("Noise", "noise_seed"),
        ("Released schedule", "steps"),
        ("Empty canvas", "batch_size"),
        ("VAE", "vae_name"),
    ),
)
MEASURING = Fold(
    "Measuring",
    (("Identity Meter",), ("The meter's numbers",)),
    "How much everybody in the images looks like whom, as an image and as numbers.",
    images=("Identity Meter",),
)
SUBGRAPHS = (PEOPLE, SAMPLING, MEASURING)
ANY_IMAGE = Fold(
    "Measure any image",
    (("Face models",), ("Person 1", "Person 2"), ("Identity Meter",)),
    "What became of two people in images of any program: kept, drifted, swapped, pasted, lost and more.",
    outside=(("Face models", "pack"),),
    names=(("Person 1", "photos", "photos of person 1"), ("Person 2", "photos", "photos of person 2")),
    images=("Identity Meter",),
)
