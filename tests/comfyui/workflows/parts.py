"""What the shipped workflows have in common: loaders, people, places, the prompt, sampling, the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .draft import Draft, Link, Node

HUB = "https://huggingface.co/"
ENCODERS = HUB + "comfyanonymous/flux_text_encoders/resolve/main/"
WITHANYONE = HUB + "WithAnyone/WithAnyone/resolve/main/"

FLUX, KONTEXT = "flux1-dev.safetensors", "flux1-kontext-dev.safetensors"
CLIP_L, T5, VAE = "clip_l.safetensors", "t5xxl_fp16.safetensors", "ae.safetensors"
ADAPTER, KE = "withanyone.safetensors", "withanyone.ke.safetensors"
SIGLIP = "siglip-base-patch16-256-i18n"

# file: (its address, its folder under models/), for the frontend's dialog of missing models
FILES = {
    FLUX: (HUB + "black-forest-labs/FLUX.1-dev/resolve/main/" + FLUX, "diffusion_models"),
    KONTEXT: (HUB + "black-forest-labs/FLUX.1-Kontext-dev/resolve/main/" + KONTEXT, "diffusion_models"),
    CLIP_L: (ENCODERS + CLIP_L, "text_encoders"),
    T5: (ENCODERS + T5, "text_encoders"),
    VAE: (HUB + "black-forest-labs/FLUX.1-dev/resolve/main/" + VAE, "vae"),
    ADAPTER: (WITHANYONE + ADAPTER, "withanyone"),
    KE: (WITHANYONE + KE, "withanyone"),
    f"{SIGLIP}.safetensors": (HUB + f"google/{SIGLIP}/resolve/main/model.safetensors", "clip_vision"),
}

BLUE, ORANGE, GREEN, PURPLE, GREY, LIGHT = "#3f789e", "#b06634", "#8A8", "#a1309b", "#88A", "#888"
YELLOW = "#b58b2a"
STEPS = 25
T5_TOKENS = 512
UNSEEN_PEOPLE = 1_000_000  # miniature people from this number on are in no training set


@dataclass(frozen=True)
class Models:
    flux: Node
    clip: Node
    vae: Node
    adapter: Node


@dataclass(frozen=True)
class FaceModels:
    """`siglip` is None for adapters of the ArcFace branch alone."""

    analysis: Node
    siglip: Node | None


def models(draft: Draft, flux: str = FLUX, adapter: str = ADAPTER) -> Models:
    """Opens the group of loaders."""
    draft.group("Models", BLUE)
    title = "FLUX.1 Kontext" if flux == KONTEXT else "FLUX.1-dev"
    return Models(
        draft.add("UNETLoader", title, unet_name=flux),
        draft.add("DualCLIPLoader", "Text encoders", clip_name1=CLIP_L, clip_name2=T5, type="flux"),
        draft.add("VAELoader", "VAE", vae_name=VAE),
        draft.add("WithAnyoneLoadAdapter", "WithAnyone adapter", adapter_name=adapter),
    )


def miniature_models(draft: Draft) -> Models:
    """Opens the group of loaders with those of the miniature."""
    draft.group("Models", BLUE)
    return Models(
        draft.add("WithAnyoneMiniatureFlux", "Miniature FLUX"),
        draft.add("WithAnyoneMiniatureCLIP", "Text encoders"),
        draft.add("WithAnyoneMiniatureVAE", "VAE"),
        draft.add("WithAnyoneMiniatureAdapter", "Miniature adapter"),
    )


def face_models(draft: Draft, siglip: bool = True) -> FaceModels:
    analysis = draft.add("WithAnyoneLoadFaceAnalysis", "Face models", pack="antelopev2")
    if not siglip:
        return FaceModels(analysis, None)
    return FaceModels(analysis, draft.add("WithAnyoneLoadSigLIP", "SigLIP", siglip_name=f"{SIGLIP}.safetensors"))


def miniature_face_models(draft: Draft) -> FaceModels:
    analysis = draft.add("WithAnyoneMiniatureFaceAnalysis", "Face models")
    return FaceModels(analysis, draft.add("WithAnyoneMiniatureSigLIP", "SigLIP"))


def photograph(draft: Draft, number: int) -> Node:
    return draft.add("LoadImage", f"Photo of person {number}", image=f"person_{number}.jpg")


def drawn_photo(draft: Draft, number: int) -> Node:
    """Of somebody of the miniature world whom no model has learnt from."""
    return draft.add("WithAnyoneMiniaturePhotos", f"Photo of person {number}", person=UNSEEN_PEOPLE + number)


Photo = Callable[[Draft, int], Node]


def people(draft: Draft, faces: FaceModels, count: int, photo: Photo = photograph) -> list[Node]:
    """Opens the group of people: a photo and an identity each, two people above each other."""
    draft.group("People", ORANGE)
    found = []
    for first in range(1, count + 1, 2):
        if first > 1:
            draft.column()
        found += identities(draft, faces, range(first, min(first + 2, count + 1)), photo)
    return found


def identities(draft: Draft, faces: FaceModels, numbers: Sequence[int], photo: Photo = photograph) -> list[Node]:
    """A column of photos and a column of the identities made from them."""
    photos = [photo(draft, number) for number in numbers]
    draft.column()
    return recognized(draft, faces, numbers, photos)


def two_photos_each(draft: Draft, count: int) -> list[Node]:
    """Two columns of photos and a column of the batches of two that they make."""
    first = [photograph(draft, number) for number in range(1, count + 1)]
    draft.column()
    other = [
        draft.add("LoadImage", f"Another photo of person {number}", image=f"person_{number}_again.jpg")
        for number in range(1, count + 1)
    ]
    draft.column()
    return [
        draft.add("ImageBatch", f"Photos of person {number}", image1=one[0], image2=two[0])
        for number, (one, two) in enumerate(zip(first, other, strict=True), 1)
    ]


def recognized(draft: Draft, faces: FaceModels, numbers: Sequence[int], photos: Sequence[Node]) -> list[Node]:
    """An identity made from each photo."""
    sight = {"clip_vision": faces.siglip[0]} if faces.siglip else {}
    return [
        draft.add(
            "WithAnyoneIdentityFromPhotos",
            f"Person {number}",
            photos=photo[0],
            face_analysis=faces.analysis[0],
            name=f"person {number}",
            **sight,
        )
        for number, photo in zip(numbers, photos, strict=True)
    ]


def placed(draft: Draft, persons: Sequence[Node], places: Sequence[dict[str, Link]]) -> Node:
    """A chain of Place Face; each place is {"layout": link} or {"mask": link}. Returns its last node."""
    chain: dict[str, Link] = {}
    for number, (person, place) in enumerate(zip(persons, places, strict=True), 1):
        node = draft.add("WithAnyonePlaceFace", f"Person {number} into a place", identity=person[0], **place, **chain)
        chain = {"faces": node[0]}
    return node


def preset_places(draft: Draft, persons: Sequence[Node], width: int, height: int) -> tuple[Node, Node]:
    """Opens the group of places; returns the layout and the last of the chain."""
    draft.group("Places", GREEN)
    title = "Canvas and places" if len(persons) > 1 else "Canvas and place"
    layout = draft.add("WithAnyoneLayout", title, width=width, height=height, people=len(persons))
    return layout, placed(draft, persons, [{"layout": layout[0]}] * len(persons))


@dataclass(frozen=True)
class Conditioned:
    model: Node
    conditioning: Node


def condition(
    draft: Draft,
    loaded: Models,
    faces: Node,
    prompt: str,
    flux: Node | None = None,
    reference: Link | None = None,
    tokens: int = T5_TOKENS,
) -> Conditioned:
    """Opens the group of the prompt and the adapter. `flux` is the model in the place of the loaded one."""
    conditioning = prompted(draft, loaded, prompt, reference, tokens)
    model = draft.add(
        "WithAnyoneApply",
        "Apply WithAnyone",
        model=(flux or loaded.flux)[0],
        adapter=loaded.adapter[0],
        faces=faces[0],
    )
    return Conditioned(model, conditioning)


def prompted(draft: Draft, loaded: Models, prompt: str, reference: Link | None = None, tokens: int = T5_TOKENS) -> Node:
    """Opens the group of the prompt; the conditioning."""
    draft.group("Conditioning", PURPLE)
    clip = draft.add("T5TokenizerOptions", f"T5 sees {tokens} tokens", clip=loaded.clip[0], min_length=tokens)
    conditioning = draft.add("CLIPTextEncode", "Prompt", text=prompt, clip=clip[0])
    if reference is not None:
        conditioning = draft.add("ReferenceLatent", "The image to edit", conditioning=conditioning[0], latent=reference)
    return draft.add("FluxGuidance", "Guidance", guidance=4.0, conditioning=conditioning[0])


@dataclass(frozen=True)
class Canvas:
    """Width and height in pixels, each a number or the link that brings one."""

    width: int | Link
    height: int | Link


def guider(draft: Draft, what: Conditioned) -> tuple[Node, Node]:
    """The guider, and Euler."""
    made = draft.add("BasicGuider", "Guider", model=what.model[0], conditioning=what.conditioning[0])
    return made, draft.add("KSamplerSelect", "Sampler", sampler_name="euler")


def run(
    draft: Draft,
    guiding: tuple[Node, Node],
    canvas: Canvas,
    latent: Node,
    steps: int = STEPS,
    denoise: float = 1.0,
    seed: int = 1,
) -> Node:
    """Noise, schedule and sampler."""
    noise = draft.add("RandomNoise", "Noise", noise_seed=seed)
    sigmas = draft.add(
        "WithAnyoneScheduler",
        "Released schedule",
        steps=steps,
        width=canvas.width,
        height=canvas.height,
        denoise=denoise,
    )
    return draft.add(
        "SamplerCustomAdvanced",
        "Sample",
        noise=noise[0],
        guider=guiding[0][0],
        sampler=guiding[1][0],
        sigmas=sigmas[0],
        latent_image=latent[0],
    )


def sampled(draft: Draft, what: Conditioned, canvas: Canvas, title: str = "Sampling", images: int = 1) -> Node:
    """Opens the group of sampling; from empty canvases to latents."""
    draft.group(title, GREY)
    guiding = guider(draft, what)
    empty = draft.add(
        "EmptySD3LatentImage", "Empty canvas", width=canvas.width, height=canvas.height, batch_size=images
    )
    return run(draft, guiding, canvas, empty)


def result(draft: Draft, latent: Node, vae: Node) -> Node:
    """Opens the last group, which the note joins; the images."""
    draft.group("Result", LIGHT)
    image = draft.add("VAEDecode", "Decode", samples=latent[0], vae=vae[0])
    draft.add("SaveImage", "Image", filename_prefix="withanyone", images=image[0])
    return image


def measured(draft: Draft, image: Node, faces: Node, analysis: Node) -> None:
    """Two columns that say how much everybody in the images looks like whom."""
    draft.column()
    meter = draft.add(
        "WithAnyoneIdentityMeter", "Identity Meter", images=image[0], faces=faces[0], face_analysis=analysis[0]
    )
    draft.column()
    draft.add("PreviewAny", "The meter's numbers", source=meter[2])
