"""Makes the shipped two-person workflow: the graph below, through ComfyUI's own frontend, then set out for the eye.

    .testbed/venv/bin/python tests/comfyui/make_workflow.py

Writes example_workflows/two_people.json and .jpg, docs/two_people.png and tests/comfyui/two_people_api.json.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import tomllib

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import ROOT, load_pack
from PIL import Image, ImageDraw

load_pack()

from withanyone_pack.tests.comfyui.browser import Page, frontend  # noqa: E402
from withanyone_pack.tests.comfyui.server import ComfyServer  # noqa: E402

PROMPT = (
    "A photo of two people sitting side by side at a wooden table in a sunlit café, both smiling at the camera, "
    "coffee cups in front of them, shallow depth of field, 50mm"
)
NOTE = """## Two people with WithAnyone

1. Put the files into the folders named in the pack's README. Missing models can also be downloaded from the dialog \
that opens with this workflow; the face models (antelopev2) have to be fetched by hand.
2. Choose one photo of each person.
3. Look at the boxes: **box 1** is for the first person, **box 2** for the second. Write your own boxes or change \
`preset_seed` for others.
4. Write a prompt that says what the people do; how they look comes from the photos.

**resemblance** 0 keeps who a person is and leaves the look to the prompt, 1 follows the photo and copies more of it.
"""
HUB = "https://huggingface.co/"
FLUX = HUB + "black-forest-labs/FLUX.1-dev/resolve/main/"
ENCODERS = HUB + "comfyanonymous/flux_text_encoders/resolve/main/"
SIGLIP = "siglip-base-patch16-256-i18n"

# id: (class, title, inputs, (x, y), (width, height))
NODES: dict[str, tuple[str, str, dict[str, Any], tuple[int, int], tuple[int, int]]] = {
    "1": (
        "UNETLoader",
        "FLUX.1-dev",
        {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"},
        (0, 0),
        (330, 90),
    ),
    "2": (
        "DualCLIPLoader",
        "Text encoders",
        {
            "clip_name1": "clip_l.safetensors",
            "clip_name2": "t5xxl_fp16.safetensors",
            "type": "flux",
            "device": "default",
        },
        (0, 140),
        (330, 140),
    ),
    "3": ("VAELoader", "VAE", {"vae_name": "ae.safetensors"}, (0, 330), (330, 60)),
    "4": (
        "WithAnyoneLoadAdapter",
        "WithAnyone adapter",
        {"adapter_name": "withanyone.safetensors", "dtype": "as stored"},
        (0, 440),
        (330, 90),
    ),
    "5": (
        "WithAnyoneLoadFaceAnalysis",
        "Face models",
        {"pack": "antelopev2", "provider": "CPU", "det_size": 640, "det_threshold": 0.5},
        (0, 580),
        (330, 140),
    ),
    "6": ("WithAnyoneLoadSigLIP", "SigLIP", {"siglip_name": f"{SIGLIP}.safetensors"}, (0, 770), (330, 60)),
    "7": ("LoadImage", "Photo of person 1", {"image": "person_1.jpg"}, (410, 0), (280, 340)),
    "8": ("LoadImage", "Photo of person 2", {"image": "person_2.jpg"}, (410, 430), (280, 340)),
    "9": (
        "WithAnyoneIdentityFromPhotos",
        "Person 1",
        {
            "photos": ["7", 0],
            "face_analysis": ["5", 0],
            "name": "person 1",
            "which_face": "best score",
            "face_index": 1,
            "combine": "first",
            "no_face": "error",
            "clip_vision": ["6", 0],
        },
        (730, 0),
        (310, 380),
    ),
    "10": (
        "WithAnyoneIdentityFromPhotos",
        "Person 2",
        {
            "photos": ["8", 0],
            "face_analysis": ["5", 0],
            "name": "person 2",
            "which_face": "best score",
            "face_index": 1,
            "combine": "first",
            "no_face": "error",
            "clip_vision": ["6", 0],
        },
        (730, 430),
        (310, 380),
    ),
    "11": (
        "WithAnyoneLayout",
        "Canvas and places",
        {"width": 1024, "height": 1024, "people": 2, "preset_seed": 0, "boxes": ""},
        (1120, 0),
        (310, 440),
    ),
    "12": (
        "WithAnyonePlaceFace",
        "Person 1 into a place",
        {"identity": ["9", 0], "weight": 1.0, "box": 0, "layout": ["11", 0]},
        (1120, 490),
        (310, 160),
    ),
    "13": (
        "WithAnyonePlaceFace",
        "Person 2 into the next",
        {"identity": ["10", 0], "weight": 1.0, "box": 0, "layout": ["11", 0], "faces": ["12", 0]},
        (1120, 700),
        (310, 160),
    ),
    "14": (
        "WithAnyoneApply",
        "Apply WithAnyone",
        {
            "model": ["1", 0],
            "adapter": ["4", 0],
            "faces": ["13", 0],
            "resemblance": 0.5,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "apply_to": "cond",
            "id_weight": -1.0,
            "siglip_weight": -1.0,
        },
        (1510, 550),
        (310, 250),
    ),
    "15": (
        "T5TokenizerOptions",
        "T5 sees 512 tokens",
        {"clip": ["2", 0], "min_padding": 0, "min_length": 512},
        (1510, 0),
        (310, 90),
    ),
    "16": ("CLIPTextEncode", "Prompt", {"text": PROMPT, "clip": ["15", 0]}, (1510, 140), (310, 210)),
    "17": ("FluxGuidance", "Guidance", {"guidance": 4.0, "conditioning": ["16", 0]}, (1510, 400), (310, 60)),
    "18": ("BasicGuider", "Guider", {"model": ["14", 0], "conditioning": ["17", 0]}, (1900, 0), (290, 50)),
    "19": ("RandomNoise", "Noise", {"noise_seed": 1}, (1900, 100), (290, 90)),
    "20": ("KSamplerSelect", "Sampler", {"sampler_name": "euler"}, (1900, 240), (290, 60)),
    "21": (
        "WithAnyoneScheduler",
        "Released schedule",
        {
            "steps": 25,
            "width": ["11", 1],
            "height": ["11", 2],
            "denoise": 1.0,
            "token_count": "as released",
        },
        (1900, 350),
        (290, 160),
    ),
    "22": (
        "EmptySD3LatentImage",
        "Empty canvas",
        {"width": ["11", 1], "height": ["11", 2], "batch_size": 1},
        (1900, 560),
        (290, 110),
    ),
    "23": (
        "SamplerCustomAdvanced",
        "Sample",
        {
            "noise": ["19", 0],
            "guider": ["18", 0],
            "sampler": ["20", 0],
            "sigmas": ["21", 0],
            "latent_image": ["22", 0],
        },
        (1900, 720),
        (290, 110),
    ),
    "24": ("VAEDecode", "Decode", {"samples": ["23", 0], "vae": ["3", 0]}, (2270, 0), (330, 50)),
    "25": ("SaveImage", "Picture", {"filename_prefix": "withanyone", "images": ["24", 0]}, (2270, 100), (330, 400)),
}

# id: (file, address, folder under models/)
MODELS = {
    "1": [("flux1-dev.safetensors", FLUX + "flux1-dev.safetensors", "diffusion_models")],
    "2": [
        ("clip_l.safetensors", ENCODERS + "clip_l.safetensors", "text_encoders"),
        ("t5xxl_fp16.safetensors", ENCODERS + "t5xxl_fp16.safetensors", "text_encoders"),
    ],
    "3": [("ae.safetensors", FLUX + "ae.safetensors", "vae")],
    "4": [
        (
            "withanyone.safetensors",
            HUB + "WithAnyone/WithAnyone/resolve/main/withanyone.safetensors",
            "withanyone",
        )
    ],
    "6": [
        (f"{SIGLIP}.safetensors", HUB + f"google/{SIGLIP}/resolve/main/model.safetensors", "clip_vision"),
    ],
}

# title: (x, y, width, height), colour
GROUPS = {
    "Models": ((-20, -80, 370, 970), "#3f789e"),
    "People": ((390, -80, 670, 970), "#b06634"),
    "Places": ((1100, -80, 350, 970), "#8A8"),
    "What the model is told": ((1490, -80, 350, 970), "#a1309b"),
    "Sampling": ((1880, -80, 330, 970), "#88A"),
    "Result": ((2250, -80, 370, 970), "#444"),
}
OUR_COLOUR = {"color": "#233", "bgcolor": "#355"}
NOTE_BOX = ((2270, 550), (330, 320))


def api_graph() -> dict[str, Any]:
    return {
        node: {"inputs": inputs, "class_type": kind, "_meta": {"title": title}}
        for node, (kind, title, inputs, _, _) in NODES.items()
    }


def set_out(workflow: dict[str, Any]) -> dict[str, Any]:
    """The frontend's workflow with every node in its place, model addresses, groups and the note."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for node in workflow["nodes"]:
        name = str(node["id"])
        kind, node["title"], _, node["pos"], node["size"] = NODES[name]
        if kind.startswith("WithAnyone"):
            node |= OUR_COLOUR
            node["properties"] |= {"cnr_id": project["name"], "ver": project["version"]}
        if name in MODELS:
            fields = ("name", "url", "directory")
            node["properties"]["models"] = [dict(zip(fields, model, strict=True)) for model in MODELS[name]]
        if kind == "RandomNoise":
            node["widgets_values"][1] = "fixed"
    workflow["nodes"].append(note(workflow["last_node_id"] + 1))
    workflow["last_node_id"] += 1
    workflow["groups"] = [
        {"id": index, "title": title, "bounding": list(box), "color": colour, "font_size": 24, "flags": {}}
        for index, (title, (box, colour)) in enumerate(GROUPS.items(), 1)
    ]
    workflow["id"] = str(uuid5(NAMESPACE_URL, f"{project['name']}/two_people"))
    workflow["extra"] = {}
    return workflow


def note(identifier: int) -> dict[str, Any]:
    position, size = NOTE_BOX
    return {
        "id": identifier,
        "type": "MarkdownNote",
        "title": "Read me",
        "pos": list(position),
        "size": list(size),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [NOTE],
        "color": "#432",
        "bgcolor": "#653",
    }


def drawn_person(colour: tuple[int, int, int]) -> Image.Image:
    """Head and shoulders in one colour. No photograph of anyone is committed with a screenshot."""
    picture = Image.new("RGB", (280, 280), (225, 220, 210))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((90, 45, 190, 175), fill=colour)
    draw.ellipse((30, 190, 250, 420), fill=colour)
    return picture


def screenshot(page: Page) -> Image.Image:
    """The whole graph and nothing of the menus around it."""
    page.call(
        """
        const page = app.extensionManager
        await page.setting.set('Comfy.Minimap.Visible', false)
        await page.setting.set('Comfy.Graph.CanvasInfo', false)
        await page.setting.set('Comfy.Graph.CanvasMenu', false)
        await page.command.execute('Workspace.ToggleFocusMode')
        await new Promise(done => setTimeout(done, 1000))
        for (const cover of document.querySelectorAll('.p-dialog-mask, .p-toast')) cover.remove()
        const box = args[0], canvas = app.canvas, view = canvas.canvas.getBoundingClientRect()
        canvas.ds.scale = Math.min(view.width / box[2], view.height / box[3])
        canvas.ds.offset = [-box[0], -box[1]]
        canvas.setDirty(true, true)
        await new Promise(done => setTimeout(done, 3000))
        """,
        extent(),
    )
    picture = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    return picture


def extent() -> list[int]:
    """x, y, width and height of all groups, with a margin."""
    boxes = [box for box, _ in GROUPS.values()]
    x, y = min(box[0] for box in boxes) - 60, min(box[1] for box in boxes) - 60
    right, bottom = max(box[0] + box[2] for box in boxes) + 20, max(box[1] + box[3] for box in boxes) + 20
    return [x, y, right - x, bottom - y]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    with ComfyServer() as server, frontend(server.url, 2700, 1200) as page:
        for number, colour in enumerate(((196, 120, 80), (80, 130, 180)), 1):
            drawn_person(colour).save(server.base / "input" / f"person_{number}.jpg")
        page.call("await app.loadApiJson(args[0], 'two_people')", api_graph())
        workflow = set_out(page.workflow())
        page.load(workflow)
        write(ROOT / "example_workflows/two_people.json", workflow)
        write(ROOT / "tests/comfyui/two_people_api.json", page.api_graph())
        picture = screenshot(page)
    (ROOT / "docs").mkdir(exist_ok=True)
    picture.save(ROOT / "docs/two_people.png", optimize=True)
    picture.resize((picture.width // 2, picture.height // 2)).save(
        ROOT / "example_workflows/two_people.jpg", quality=85
    )


if __name__ == "__main__":
    main()
