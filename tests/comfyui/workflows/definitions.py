"""The shipped workflows, each a function that writes one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ....withanyone_core.regions.drawn_boxes import boxes_to_json
from ....withanyone_core.regions.layout import Box
from . import parts
from .draft import Draft, Folds, Heading, Node
from .notes import NOTES, PROMPTS
from .parts import Canvas
from .subgraphs import ANY_IMAGE, MEASURING, PEOPLE, SAMPLING, SUBGRAPHS


def two_people_long() -> Draft:
    """Every node in sight."""
    draft = Draft(NOTES["two_people"])
    loaded, face_models = parts.models(draft), parts.face_models(draft)
    persons = parts.people(draft, face_models, 2)
    draft.app = APP
    return a_pair(draft, loaded, face_models, persons, PROMPTS["two_people"], FULL)


def two_people() -> Draft:
    """The same graph in a dozen nodes."""
    draft = two_people_long()
    draft.folds = Folds(SUBGRAPHS, HEADINGS)
    draft.app = APP_FOLDED
    return draft


def miniature() -> Draft:
    draft = Draft(NOTES["miniature"])
    loaded, face_models = parts.miniature_models(draft), parts.miniature_face_models(draft)
    persons = parts.people(draft, face_models, 2, parts.drawn_photo)
    return a_pair(draft, loaded, face_models, persons, PROMPTS["miniature"], SMALL)


@dataclass(frozen=True)
class Sizes:
    """Side of the canvas, tokens of the prompt, and how many images are made at once."""

    side_px: int
    tokens: int
    images: int


FULL = Sizes(1024, parts.T5_TOKENS, 1)
SMALL = Sizes(176, 24, 4)


def a_pair(
    draft: Draft,
    loaded: parts.Models,
    face_models: parts.FaceModels,
    persons: Sequence[Node],
    prompt: str,
    sizes: Sizes,
) -> Draft:
    """What follows the loaders of models and photos: the same for FLUX.1 and for the miniature."""
    layout, faces = parts.preset_places(draft, persons, sizes.side_px, sizes.side_px)
    what = parts.condition(draft, loaded, faces, prompt, tokens=sizes.tokens)
    latent = parts.sampled(draft, what, Canvas(layout[1], layout[2]), images=sizes.images)
    image = parts.result(draft, latent, loaded.vae)
    parts.measured(draft, image, faces, face_models.analysis)
    return draft


PHOTOS = (("Photo of person 1", "image"), ("Photo of person 2", "image"))
RESEMBLING = ("Apply WithAnyone", "resemblance")
APP = ((*PHOTOS, ("Prompt", "text"), RESEMBLING, ("Noise", "noise_seed")), ("Image",))
APP_FOLDED = ((*PHOTOS, (SAMPLING.title, "text"), RESEMBLING, (SAMPLING.title, "noise_seed")), ("Image",))
HEADINGS = (
    Heading("Models", parts.BLUE, (("FLUX.1-dev", "Text encoders", "WithAnyone adapter", "Read me"),)),
    Heading(
        "People",
        parts.ORANGE,
        (("Photo of person 1", "Photo of person 2"), ("Canvas and places", PEOPLE.title)),
    ),
    Heading("Image", parts.PURPLE, (("Apply WithAnyone", SAMPLING.title), ("Image", MEASURING.title))),
)


def portrait() -> Draft:
    draft = Draft(NOTES["portrait"])
    loaded = parts.models(draft)
    persons = parts.people(draft, parts.face_models(draft), 1)
    layout, faces = parts.preset_places(draft, persons, 832, 1216)
    what = parts.condition(draft, loaded, faces, PROMPTS["portrait"])
    parts.result(draft, parts.sampled(draft, what, Canvas(layout[1], layout[2])), loaded.vae)
    return draft


def four_people() -> Draft:
    draft = Draft(NOTES["four_people"])
    loaded = parts.models(draft)
    face_models = parts.face_models(draft)
    persons = parts.people(draft, face_models, 4)
    draft.group("Places", parts.GREEN)
    guide = draft.add("LoadImage", "Guide image", image="guide.jpg")
    layout = draft.add(
        "WithAnyoneLayoutFromImage",
        "Places from the guide",
        image=guide[0],
        face_analysis=face_models.analysis[0],
        width=1216,
        height=832,
        order="left to right",
        max_people=4,
    )
    draft.column()
    faces = parts.placed(draft, persons, [{"layout": layout[0]}] * 4)
    draft.column()
    draft.add("WithAnyonePreviewFaces", "Who stands where", faces=faces[0], image=guide[0])
    what = parts.condition(draft, loaded, faces, PROMPTS["four_people"])
    parts.result(draft, parts.sampled(draft, what, Canvas(layout[1], layout[2])), loaded.vae)
    return draft


def face_layout() -> Draft:
    draft = Draft(NOTES["face_layout"])
    loaded = parts.models(draft)
    persons = parts.people(draft, parts.face_models(draft), 3)
    draft.group("Places, drawn by hand", parts.GREEN)
    guide = draft.add("LoadImage", "Something to draw over", image="guide.jpg")
    draft.column()
    layout = draft.add(
        "WithAnyoneFaceLayout",
        "Draw the heads here",
        width=1216,
        height=832,
        boxes=boxes_to_json([Box.from_px(*box, 1216, 832) for box in DRAWN]),
        backdrop=guide[0],
    )
    draft.column()
    faces = parts.placed(draft, persons, [{"layout": layout[0]}] * 3)
    draft.column()
    draft.add("WithAnyonePreviewFaces", "Who stands where", faces=faces[0])
    what = parts.condition(draft, loaded, faces, PROMPTS["face_layout"])
    parts.result(draft, parts.sampled(draft, what, Canvas(layout[1], layout[2])), loaded.vae)
    return draft


DRAWN = ((144, 240, 352, 496), (512, 128, 704, 368), (880, 272, 1072, 512))  # in pixels, one stands behind the others


def style_lora() -> Draft:
    draft = Draft(NOTES["style_lora"])
    loaded = parts.models(draft)
    face_models = parts.face_models(draft)
    draft.group("Style", parts.YELLOW)
    styled = draft.add(
        "LoraLoaderModelOnly", "Style LoRA", model=loaded.flux[0], lora_name="style.safetensors", strength_model=0.8
    )
    persons = parts.people(draft, face_models, 2)
    layout, faces = parts.preset_places(draft, persons, 1024, 1024)
    what = parts.condition(draft, loaded, faces, PROMPTS["style_lora"], flux=styled)
    parts.result(draft, parts.sampled(draft, what, Canvas(layout[1], layout[2])), loaded.vae)
    return draft


def refine() -> Draft:
    draft = Draft(NOTES["refine"])
    loaded = parts.models(draft)
    persons = parts.people(draft, parts.face_models(draft), 2)
    layout, faces = parts.preset_places(draft, persons, 768, 768)
    what = parts.condition(draft, loaded, faces, PROMPTS["two_people"])
    small = parts.sampled(draft, what, Canvas(layout[1], layout[2]), "First pass, 768 x 768")
    draft.group("Second pass, 1152 x 1152", parts.YELLOW)
    larger = draft.add("LatentUpscaleBy", "Larger", samples=small[0], upscale_method="bicubic", scale_by=1.5)
    guiding = parts.guider(draft, what)
    final = parts.run(draft, guiding, Canvas(1152, 1152), larger, steps=12, denoise=0.45, seed=2)
    draft.column()
    image = draft.add("VAEDecode", "Decode the first pass", samples=small[0], vae=loaded.vae[0])
    draft.add("PreviewImage", "First pass", images=image[0])
    parts.result(draft, final, loaded.vae)
    return draft


def kontext_edit() -> Draft:
    draft = Draft(NOTES["kontext_edit"])
    loaded = parts.models(draft, parts.KONTEXT, parts.KE)
    face_models = parts.face_models(draft, siglip=False)
    draft.group("Image to edit", parts.YELLOW)
    image = draft.add("LoadImage", "Image to edit", image="to_edit.jpg")
    scaled = draft.add(
        "ImageScaleToTotalPixels", "To one megapixel", image=image[0], upscale_method="lanczos", megapixels=1.0
    )
    draft.column()
    edit = draft.add(
        "WithAnyonePrepareFaceEdit", "Blur its faces", image=scaled[0], face_analysis=face_models.analysis[0]
    )
    reference = draft.add("VAEEncode", "Encode", pixels=edit[0], vae=loaded.vae[0])
    persons = parts.people(draft, face_models, 2)
    draft.group("Places", parts.GREEN)
    faces = parts.placed(draft, persons, [{"layout": edit[1]}] * 2)
    draft.add("WithAnyonePreviewFaces", "Who stands where", faces=faces[0], image=edit[0])
    what = parts.condition(draft, loaded, faces, PROMPTS["kontext_edit"], reference=reference[0])
    parts.result(draft, parts.sampled(draft, what, Canvas(edit[2], edit[3])), loaded.vae)
    return draft


def saved_identities() -> Draft:
    draft = Draft(NOTES["saved_identities"])
    loaded = parts.models(draft)
    draft.group("People, from files", parts.ORANGE)
    persons = [
        draft.add("WithAnyoneLoadIdentity", f"Person {number}", identity_file=saved_name(number)) for number in (1, 2)
    ]
    layout, faces = parts.preset_places(draft, persons, 1024, 1024)
    what = parts.condition(draft, loaded, faces, PROMPTS["two_people"])
    parts.result(draft, parts.sampled(draft, what, Canvas(layout[1], layout[2])), loaded.vae)
    draft.group("Make them once (muted; see the note)", parts.YELLOW, row=1, muted=True)
    face_models = parts.face_models(draft)
    draft.column()
    made = parts.identities(draft, face_models, (1, 2))
    draft.column()
    for number, identity in enumerate(made, 1):
        draft.add(
            "WithAnyoneSaveIdentity",
            f"Save person {number}",
            identity=identity[0],
            filename_prefix=f"people/person_{number}",
        )
    return draft


def saved_name(number: int) -> str:
    """What Save Identity calls the first person saved as people/person_NUMBER."""
    return f"people/person_{number}_00001_.safetensors [output]"


def masks() -> Draft:
    draft = Draft(NOTES["masks"])
    loaded = parts.models(draft)
    persons = parts.people(draft, parts.face_models(draft), 2)
    draft.group("Places", parts.GREEN)
    width = draft.add("PrimitiveInt", "Width", value=1024)
    height = draft.add("PrimitiveInt", "Height", value=1024)
    nothing = draft.add("SolidMask", "Empty mask", value=0.0, width=width[0], height=height[0])
    painted = [painted_head(draft, number, nothing, x, y) for number, (x, y) in enumerate(HEADS, 1)]
    draft.column()
    faces = parts.placed(draft, persons, [{"mask": mask[0]} for mask in painted])
    draft.add("WithAnyonePreviewFaces", "Who stands where", faces=faces[0], width=width[0], height=height[0])
    what = parts.condition(draft, loaded, faces, PROMPTS["two_people"])
    parts.result(draft, parts.sampled(draft, what, Canvas(width[0], height[0])), loaded.vae)
    return draft


HEADS = ((160, 272), (592, 208))  # top left corners, in pixels


def painted_head(draft: Draft, number: int, nothing: Node, x: int, y: int) -> Node:
    head = draft.add("SolidMask", f"Size of person {number}'s head", value=1.0, width=272, height=352)
    return draft.add(
        "MaskComposite",
        f"Mask of person {number}",
        destination=nothing[0],
        source=head[0],
        x=x,
        y=y,
        operation="add",
    )


def resemblance_sweep() -> Draft:
    draft = Draft(NOTES["resemblance_sweep"])
    loaded = parts.models(draft)
    face_models = parts.face_models(draft)
    persons = parts.people(draft, face_models, 1)
    other = draft.add("LoadImage", "Another photo of them", image="another_photo.jpg")
    layout, faces = parts.preset_places(draft, persons, 512, 512)
    conditioning = parts.prompted(draft, loaded, PROMPTS["portrait"])
    draft.group("The same noise five times", parts.GREY, row=1)
    shared = {
        "noise": draft.add("RandomNoise", "Noise", noise_seed=1)[0],
        "sampler": draft.add("KSamplerSelect", "Sampler", sampler_name="euler")[0],
        "sigmas": draft.add(
            "WithAnyoneScheduler", "Released schedule", steps=SWEEP_STEPS, width=layout[1], height=layout[2]
        )[0],
        "latent_image": draft.add("EmptySD3LatentImage", "Empty canvas", width=layout[1], height=layout[2])[0],
    }
    images = None
    for resemblance in SWEEP:
        draft.column()
        model = draft.add(
            "WithAnyoneApply",
            f"Resemblance {resemblance:g}",
            model=loaded.flux[0],
            adapter=loaded.adapter[0],
            faces=faces[0],
            resemblance=resemblance,
        )
        guider = draft.add("BasicGuider", "Guider", model=model[0], conditioning=conditioning[0])
        latent = draft.add("SamplerCustomAdvanced", "Sample", guider=guider[0], **shared)
        image = draft.add("VAEDecode", f"Decode {resemblance:g}", samples=latent[0], vae=loaded.vae[0])
        if images is not None:
            image = draft.add("ImageBatch", "And those before", image1=images[0], image2=image[0])
        images = image
    draft.group("Measured", parts.YELLOW)
    meter = draft.add(
        "WithAnyoneIdentityMeter",
        "Identity Meter",
        images=images[0],
        faces=faces[0],
        face_analysis=face_models.analysis[0],
        truth=other[0],
    )
    draft.add("PreviewImage", "Likeness against copying", images=meter[1])
    draft.group("Result", parts.LIGHT)
    draft.add("SaveImage", "Images", filename_prefix="withanyone_sweep", images=images[0])
    return draft


def measure_any_image() -> Draft:
    draft = Draft(NOTES["measure_any_image"])
    draft.group("Images", parts.BLUE)
    image = draft.add("LoadImage", "Image to measure", image="to_measure.jpg")
    draft.group("People", parts.ORANGE)
    photos = parts.two_photos_each(draft, 2)
    draft.group("Measured", parts.YELLOW)
    analysis = draft.add("WithAnyoneLoadFaceAnalysis", "Face models", pack="dlib")
    persons = [
        draft.add(
            "WithAnyoneIdentityFromPhotos",
            f"Person {number}",
            photos=each[0],
            face_analysis=analysis[0],
            name=f"person {number}",
            combine="mean",
        )
        for number, each in enumerate(photos, 1)
    ]
    draft.column()
    meter = draft.add(
        "WithAnyoneIdentityMeter",
        "Identity Meter",
        images=image[0],
        face_analysis=analysis[0],
        identity=persons[0][0],
        identity_2=persons[1][0],
    )
    draft.group("Result", parts.LIGHT)
    draft.add("PreviewAny", "Who is in it", source=meter[3])
    draft.add("SaveImage", "Table", filename_prefix="withanyone_measured", images=meter[0])
    draft.folds = Folds((ANY_IMAGE,), ANY_IMAGE_HEADINGS)
    return draft


ANY_IMAGE_HEADINGS = (
    Heading("Images", parts.BLUE, (("Image to measure", "Read me"),)),
    Heading(
        "People",
        parts.ORANGE,
        (
            ("Photo of person 1", "Photo of person 2"),
            ("Another photo of person 1", "Another photo of person 2"),
            ("Photos of person 1", "Photos of person 2"),
        ),
    ),
    Heading("Measured", parts.YELLOW, ((ANY_IMAGE.title,), ("Who is in it", "Table"))),
)


SWEEP = (0.0, 0.25, 0.5, 0.75, 1.0)
SWEEP_STEPS = 16  # five images: enough to see who it is


def until_alike() -> Draft:
    draft = Draft(NOTES["until_alike"])
    loaded = parts.models(draft)
    face_models = parts.face_models(draft)
    persons = parts.people(draft, face_models, 2)
    layout, faces = parts.preset_places(draft, persons, 768, 768)
    what = parts.condition(draft, loaded, faces, PROMPTS["until_alike"])
    draft.group("Judged by", parts.ORANGE)
    judge = draft.add("WithAnyoneLoadFaceAnalysis", "Judge", pack="buffalo_l")
    first = draft.add("LoadImage", "Another photo of person 1", image="another_photo.jpg")
    draft.column()
    second = draft.add("LoadImage", "Another photo of person 2", image="another_photo_2.jpg")
    both = draft.add("ImageBatch", "Second photos", image1=first[0], image2=second[0])
    draft.group("Sampling until alike", parts.GREY)
    guider, sampler = parts.guider(draft, what)
    sigmas = draft.add("WithAnyoneScheduler", "Released schedule", steps=parts.STEPS, width=layout[1], height=layout[2])
    empty = draft.add("EmptySD3LatentImage", "Empty canvas", width=layout[1], height=layout[2])
    draft.column()
    sample = draft.add(
        "WithAnyoneSampleUntilAlike",
        "Sample until alike",
        guider=guider[0],
        sampler=sampler[0],
        sigmas=sigmas[0],
        latent_image=empty[0],
        vae=loaded.vae[0],
        faces=faces[0],
        face_analysis=judge[0],
        second_photos=both[0],
        noise_seed=1,
    )
    draft.group("Result", parts.LIGHT)
    draft.add("SaveImage", "Image", filename_prefix="withanyone", images=sample[1])
    draft.column()
    draft.add("PreviewAny", "What was spent, and why", source=sample[2])
    return draft


WORKFLOWS: dict[str, Callable[[], Draft]] = {
    write.__name__: write
    for write in (
        two_people,
        two_people_long,
        portrait,
        four_people,
        face_layout,
        style_lora,
        refine,
        kontext_edit,
        saved_identities,
        masks,
        resemblance_sweep,
        measure_any_image,
        until_alike,
        miniature,
    )
}
