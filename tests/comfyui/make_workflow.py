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

from withanyone_pack.tests.comfyui.browser import Page, frontend
from withanyone_pack.tests.comfyui.server import ComfyServer

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

# id: (class, title, inputs)
NODES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "1": ("UNETLoader", "FLUX.1-dev", {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"}),
    "2": (
        "DualCLIPLoader",
        "Text encoders",
        {
            "clip_name1": "clip_l.safetensors",
            "clip_name2": "t5xxl_fp16.safetensors",
            "type": "flux",
            "device": "default",
        },
    ),
    "3": ("VAELoader", "VAE", {"vae_name": "ae.safetensors"}),
    "4": (
        "WithAnyoneLoadAdapter",
        "WithAnyone adapter",
        {"adapter_name": "withanyone.safetensors", "dtype": "as stored"},
    ),
    "5": (
        "WithAnyoneLoadFaceAnalysis",
        "Face models",
        {"pack": "antelopev2", "provider": "CPU", "det_size": 640, "det_threshold": 0.5},
    ),
    "6": ("WithAnyoneLoadSigLIP", "SigLIP", {"siglip_name": f"{SIGLIP}.safetensors"}),
    "7": ("LoadImage", "Photo of person 1", {"image": "person_1.jpg"}),
    "8": ("LoadImage", "Photo of person 2", {"image": "person_2.jpg"}),
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
    ),
    "11": (
        "WithAnyoneLayout",
        "Canvas and places",
        {"width": 1024, "height": 1024, "people": 2, "preset_seed": 0, "boxes": ""},
    ),
    "12": (
        "WithAnyonePlaceFace",
        "Person 1 into a place",
        {"identity": ["9", 0], "weight": 1.0, "box": 0, "layout": ["11", 0]},
    ),
    "13": (
        "WithAnyonePlaceFace",
        "Person 2 into the next",
        {"identity": ["10", 0], "weight": 1.0, "box": 0, "layout": ["11", 0], "faces": ["12", 0]},
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
    ),
    "15": ("T5TokenizerOptions", "T5 sees 512 tokens", {"clip": ["2", 0], "min_padding": 0, "min_length": 512}),
    "16": ("CLIPTextEncode", "Prompt", {"text": PROMPT, "clip": ["15", 0]}),
    "17": ("FluxGuidance", "Guidance", {"guidance": 4.0, "conditioning": ["16", 0]}),
    "18": ("BasicGuider", "Guider", {"model": ["14", 0], "conditioning": ["17", 0]}),
    "19": ("RandomNoise", "Noise", {"noise_seed": 1}),
    "20": ("KSamplerSelect", "Sampler", {"sampler_name": "euler"}),
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
    ),
    "22": ("EmptySD3LatentImage", "Empty canvas", {"width": ["11", 1], "height": ["11", 2], "batch_size": 1}),
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
    ),
    "24": ("VAEDecode", "Decode", {"samples": ["23", 0], "vae": ["3", 0]}),
    "25": ("SaveImage", "Picture", {"filename_prefix": "withanyone", "images": ["24", 0]}),
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

# title: colour, columns of node ids from top to bottom; the note comes last
GROUPS = {
    "Models": ("#3f789e", [["1", "2", "3", "4", "5", "6"]]),
    "People": ("#b06634", [["7", "8"], ["9", "10"]]),
    "Places": ("#8A8", [["11", "12", "13"]]),
    "What the model is told": ("#a1309b", [["15", "16", "17", "14"]]),
    "Sampling": ("#88A", [["18", "19", "20", "21", "22", "23"]]),
    "Result": ("#888", [["24", "25", "26"]]),
}
NOTE_ID = "26"
WIDTH = 330
ROOM = {  # heights of nodes that show a picture or take a long text
    "LoadImage": 400,
    "WithAnyoneIdentityFromPhotos": 400,
    "WithAnyoneLayout": 400,
    "CLIPTextEncode": 210,
    "SaveImage": 400,
    "MarkdownNote": 330,
}
TITLE, GAP = 30, 20
OUR_COLOUR = {"color": "#233", "bgcolor": "#355"}


def api_graph() -> dict[str, Any]:
    return {
        node: {"inputs": inputs, "class_type": kind, "_meta": {"title": title}}
        for node, (kind, title, inputs) in NODES.items()
    }


def finished(workflow: dict[str, Any]) -> dict[str, Any]:
    """The frontend's workflow with model addresses, colours, the note, and everything in its place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for node in workflow["nodes"]:
        kind, node["title"], _ = NODES[str(node["id"])]
        if kind.startswith("WithAnyone"):
            node |= OUR_COLOUR
            node["properties"] |= {"cnr_id": project["name"], "ver": project["version"]}
        if str(node["id"]) in MODELS:
            fields = ("name", "url", "directory")
            models = MODELS[str(node["id"])]
            node["properties"]["models"] = [dict(zip(fields, model, strict=True)) for model in models]
        if kind == "RandomNoise":
            node["widgets_values"][1] = "fixed"
    workflow["nodes"].append(note())
    workflow["last_node_id"] = int(NOTE_ID)
    workflow["groups"] = set_out({str(node["id"]): node for node in workflow["nodes"]})
    workflow["id"] = str(uuid5(NAMESPACE_URL, f"{project['name']}/two_people"))
    workflow["extra"] = {}
    return workflow


def set_out(nodes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Places the nodes in columns and returns the groups around them."""
    groups, x, bottom = [], 0, 0
    for title, (colour, columns) in GROUPS.items():
        left = x
        for column in columns:
            y = 0
            for node in (nodes[name] for name in column):
                node["pos"] = [x, y]
                node["size"] = [WIDTH, max(node["size"][1], ROOM.get(node["type"], 0))]
                y += node["size"][1] + TITLE + GAP
            x, bottom = x + WIDTH + 2 * GAP, max(bottom, y - TITLE)
        groups.append({"title": title, "bounding": [left - GAP, -80, x - left, 0], "color": colour})
        x += GAP
    for index, group in enumerate(groups, 1):
        group["bounding"][3] = bottom + 80
        group |= {"id": index, "font_size": 24, "flags": {}}
    return groups


def note() -> dict[str, Any]:
    return {
        "id": int(NOTE_ID),
        "type": "MarkdownNote",
        "title": "Read me",
        "pos": [0, 0],
        "size": [0, 0],
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


def screenshot(page: Page, groups: list[dict[str, Any]]) -> Image.Image:
    """The whole graph and nothing of the menus around it."""
    scale = page.call(
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
        return canvas.ds.scale
        """,
        extent(groups),
    )
    picture = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    _, _, width, height = extent(groups)
    return picture.crop((0, 0, round(width * scale), round(height * scale)))


def extent(groups: list[dict[str, Any]]) -> list[int]:
    """x, y, width and height of all groups, with a margin in which the page keeps its menu button."""
    first, last = groups[0]["bounding"], groups[-1]["bounding"]
    x, y = first[0] - 2 * GAP, first[1] - 3 * GAP
    return [x, y, last[0] + last[2] + 2 * GAP - x, first[1] + first[3] + 2 * GAP - y]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    with ComfyServer() as server, frontend(server.url, 2700, 1200) as page:
        for number, colour in enumerate(((196, 120, 80), (80, 130, 180)), 1):
            drawn_person(colour).save(server.base / "input" / f"person_{number}.jpg")
        page.call("await app.loadApiJson(args[0], 'two_people')", api_graph())
        workflow = finished(page.workflow())
        page.load(workflow)
        write(ROOT / "example_workflows/two_people.json", workflow)
        write(ROOT / "tests/comfyui/two_people_api.json", page.api_graph())
        picture = screenshot(page, workflow["groups"])
    (ROOT / "docs").mkdir(exist_ok=True)
    picture.save(ROOT / "docs/two_people.png", optimize=True)
    picture.resize((picture.width // 2, picture.height // 2)).save(
        ROOT / "example_workflows/two_people.jpg", quality=85
    )


if __name__ == "__main__":
    main()
