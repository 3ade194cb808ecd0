"""Makes the images of the help pages: every node as it stands in a graph that has run, in ComfyUI's own frontend.

    .testbed/venv/bin/python tests/comfyui/node_images.py [NODE...]

Writes nodes/web/docs/images/NODE.jpg for all nodes, or those named. The people are drawn, and the face models are a
stand-in that knows them; everything else is the pack itself in a real server.
"""

import io
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import ROOT, load_pack
from PIL import Image

load_pack()

from withanyone_pack.tests.comfyui.browser import Page, frontend
from withanyone_pack.tests.comfyui.server import ComfyServer
from withanyone_pack.tests.comfyui.workflows.draft import Draft, Node
from withanyone_pack.tests.comfyui.workflows.make import run, without_menus

drawing = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("standins") / "standin_drawing.py")))

IMAGES = ROOT / "nodes/web/docs/images"
PREFIX = "WithAnyone"
WINDOW_PX = 1500, 1500
NODE_WIDTH, MARGIN, TITLE = 380, 14, 30  # on the canvas
IMAGE_PX = 520  # wide
APART = 2000  # on the canvas: no node looks into another's image
SAVED = "ann_00001_.safetensors [output]"
ROOM = {  # heights of nodes that show an image
    "IdentityFromPhotos": 520,
    "SaveIdentity": 380,
    "LoadIdentity": 600,
    "MiniaturePhotos": 440,
    "Layout": 560,
    "LayoutFromImage": 560,
    "LayoutFromBoxes": 480,
    "PreviewFaces": 480,
    "PrepareFaceEdit": 480,
    "IdentityMeter": 430,
    "Compare": 560,
}

PHOTOS = {
    "ann.png": ((640, 640), (("ann", 0.5, 0.42, 0.4),)),
    "bob.png": ((640, 640), (("bob", 0.5, 0.42, 0.42),)),
    "ann_again.png": ((640, 640), (("ann", 0.42, 0.45, 0.3),)),
    "bob_again.png": ((640, 640), (("bob", 0.58, 0.4, 0.34),)),
    "party.png": ((960, 640), (("bob", 0.2, 0.4, 0.26), ("ann", 0.5, 0.36, 0.28), ("eve", 0.8, 0.42, 0.25))),
    "result_1.png": ((1024, 1024), (("ann", 0.3, 0.37, 0.26), ("bob", 0.72, 0.36, 0.25))),
    "result_2.png": ((1024, 1024), (("ann", 0.28, 0.38, 0.24), ("bob", 0.7, 0.37, 0.27))),
    "other_1.png": ((1024, 1024), (("ann", 0.31, 0.36, 0.22), ("bob", 0.71, 0.38, 0.22))),
    "other_2.png": ((1024, 1024), (("ann", 0.29, 0.39, 0.23), ("bob", 0.69, 0.36, 0.21))),
}


def draw_photos(folder: Path) -> None:
    for name, (size_px, places) in PHOTOS.items():
        drawing.draw_people(size_px, *places).save(folder / name)


def graph_of_all() -> Draft:
    """Every node of the pack once, connected as in a real workflow; what needs FLUX is not run."""
    draft = Draft("")
    draft.group("All", "")
    faces = draft.add("StandinDrawnFaces", "Face models")
    siglip = draft.add("WithAnyoneLoadSigLIP", "", siglip_name="siglip-base-patch16-256-i18n.safetensors")
    loaded = draft.add("WithAnyoneLoadFaceAnalysis", "", pack="antelopev2")
    ann, bob = (identity(draft, faces, siglip, name) for name in ("Ann", "Bob"))
    identity(draft, loaded, siglip, "Ann")  # is not run, and gives the loader of face models something to load for
    placed = places(draft, faces, ann, bob)
    draft.add("WithAnyoneSaveIdentity", "", identity=ann[0], filename_prefix="%name%")
    known = draft.add("WithAnyoneLoadIdentity", "", identity_file=SAVED)
    draft.add("PreviewImage", "Saved", images=known[1])
    mixed = draft.add("WithAnyoneMergeIdentities", "", identity_a=ann[0], identity_b=bob[0], weight=0.4, name="Anna")
    draft.add("WithAnyoneSaveIdentity", "", identity=mixed[0])
    sampling(draft, placed)
    measuring(draft, faces, placed)
    miniature(draft)
    return draft


def photo(draft: Draft, name: str) -> Node:
    return draft.add("LoadImage", "Photo", image=f"{name}.png")


def identity(draft: Draft, faces: Node, siglip: Node, name: str, image: str = "") -> Node:
    return draft.add(
        "WithAnyoneIdentityFromPhotos",
        "",
        photos=photo(draft, image or name.lower())[0],
        face_analysis=faces[0],
        name=name,
        which_face="best score",
        face_index=1,
        combine="first",
        no_face="error",
        clip_vision=siglip[0],
    )


def places(draft: Draft, faces: Node, ann: Node, bob: Node) -> Node:
    """Layouts of every kind, and Ann and Bob in one; the last of the chain."""
    text = draft.add("PrimitiveStringMultiline", "Boxes", value="128,192,416,576\n608,224,896,608")
    draft.add("WithAnyoneLayoutFromBoxes", "", boxes=text[0], width=1024, height=1024)
    party = photo(draft, "party")
    draft.add("WithAnyoneLayoutFromImage", "", image=party[0], face_analysis=faces[0], width=1216, height=832)
    drawn = draft.add("WithAnyoneFaceLayout", "", width=1024, height=1024, backdrop=photo(draft, "result_1")[0])
    draft.add("WithAnyonePlaceFace", "Ann into a drawn place", identity=ann[0], layout=drawn[0])
    layout = draft.add("WithAnyoneLayout", "", width=1024, height=1024, people=2)
    first = draft.add("WithAnyonePlaceFace", "Ann into a place", identity=ann[0], layout=layout[0])
    last = draft.add("WithAnyonePlaceFace", "", identity=bob[0], layout=layout[0], faces=first[0])
    draft.add("WithAnyonePreviewFaces", "", faces=last[0])
    edit = draft.add("WithAnyonePrepareFaceEdit", "", image=party[0], face_analysis=faces[0])
    draft.add("PreviewImage", "Blurred", images=edit[0])
    return last


def sampling(draft: Draft, placed: Node) -> None:
    """What needs models that are not here: none of it leads to a node that is run."""
    flux = draft.add("UNETLoader", "FLUX.1-dev", unet_name="flux1-dev.safetensors")
    adapter = draft.add("WithAnyoneLoadAdapter", "", adapter_name="withanyone.safetensors")
    tuned = draft.add("WithAnyoneAddAdapterLora", "", adapter=adapter[0], lora_name="my_people.safetensors")
    model = draft.add("WithAnyoneApply", "", model=flux[0], adapter=tuned[0], faces=placed[0])
    guider = draft.add("BasicGuider", "Guider", model=model[0])
    sigmas = draft.add("WithAnyoneScheduler", "", steps=25, width=1024, height=1024)
    draft.add("SamplerCustomAdvanced", "Sample", guider=guider[0], sigmas=sigmas[0])
    draft.add("WithAnyoneSampleUntilAlike", "", guider=guider[0], sigmas=sigmas[0], faces=placed[0])


def measuring(draft: Draft, faces: Node, placed: Node) -> None:
    results, others, second = (
        draft.add("ImageBatch", "Batch", image1=photo(draft, one)[0], image2=photo(draft, two)[0])
        for one, two in (("result_1", "result_2"), ("other_1", "other_2"), ("ann_again", "bob_again"))
    )
    known = {"faces": placed[0], "face_analysis": faces[0], "second_photos": second[0]}
    draft.add("WithAnyoneIdentityMeter", "", images=results[0], **known)
    best = draft.add("WithAnyonePickBest", "", images=results[0], **known)
    draft.add("PreviewImage", "The best", images=best[0])
    draft.add(
        "WithAnyoneCompare",
        "",
        images_a=results[0],
        images_b=others[0],
        name_a="resemblance 0.5",
        name_b="resemblance 1",
        **known,
    )


def miniature(draft: Draft) -> None:
    """The small models as they are connected; only the drawn photos are run."""
    photos = draft.add("WithAnyoneMiniaturePhotos", "", photos=4)
    draft.add("PreviewImage", "Photos", images=photos[0])
    seeing = {"face_analysis": "FaceAnalysis", "clip_vision": "SigLIP"}
    known = {name: draft.add(f"WithAnyoneMiniature{kind}", "")[0] for name, kind in seeing.items()}
    draft.add("WithAnyoneIdentityFromPhotos", "Person", photos=photos[0], **known)
    flux, adapter = draft.add("WithAnyoneMiniatureFlux", ""), draft.add("WithAnyoneMiniatureAdapter", "")
    draft.add("WithAnyoneApply", "Apply", model=flux[0], adapter=adapter[0])
    draft.add("CLIPTextEncode", "Prompt", clip=draft.add("WithAnyoneMiniatureCLIP", "")[0], text="one person, park")
    draft.add("VAEDecode", "Decode", vae=draft.add("WithAnyoneMiniatureVAE", "")[0])


def saving_ann() -> Draft:
    """A small graph that writes the file which Load Identity shows."""
    draft = Draft("")
    draft.group("Ann", "")
    faces = draft.add("StandinDrawnFaces", "Face models")
    siglip = draft.add("WithAnyoneLoadSigLIP", "", siglip_name="siglip-base-patch16-256-i18n.safetensors")
    ann = identity(draft, faces, siglip, "Ann", "ann_again")  # what ran before is not shown when it is queued again
    draft.add("WithAnyoneSaveIdentity", "", identity=ann[0], filename_prefix="ann")
    return draft


def spread(page: Page) -> None:
    """Every node to a place of its own, with its own name and room for what it will show."""
    page.call(
        """
        const [width, room, apart, prefix] = args
        app.rootGraph.nodes.forEach((node, number) => {
            node.pos = [number % 6 * apart, Math.floor(number / 6) * apart]
            const own = node.type.replace(prefix, '')
            node.setSize([width, Math.max(node.computeSize()[1], room[own] ?? 0)])
            if (node.type.startsWith(prefix)) node.title = node.constructor.title
        })
        """,
        NODE_WIDTH,
        ROOM,
        APART,
        PREFIX,
    )


def show(page: Page, server: ComfyServer, draft: Draft) -> None:
    """Opens a graph and runs it."""
    page.call("await app.loadApiJson(args[0], 'graph')", draft.api_graph())
    spread(page)
    run(page, server)


def image_of(page: Page, kind: str) -> Image.Image:
    """The last node of a kind in the graph: of Place Face the one that has another before it."""
    wide, high, scale = page.call(
        """
        const [kind, margin, title, wide] = args
        const node = app.rootGraph.nodes.filter(node => node.type === kind).at(kind.endsWith('PlaceFace') ? -1 : 0)
        for (const cover of document.querySelectorAll('.p-dialog-mask, .p-toast')) cover.remove()
        const size = [node.size[0] + 2 * margin, node.size[1] + title + 2 * margin]
        app.canvas.deselectAll?.()
        app.canvas.ds.scale = wide / size[0]
        app.canvas.ds.offset = [margin - node.pos[0], margin + title - node.pos[1]]
        app.canvas.setDirty(true, true)
        const later = () => new Promise(done => setTimeout(done, 600))
        await later()
        if (node.imgs?.length > 1) {  // one of several, large, as after a click on it
            node.imageIndex = 0
            app.canvas.setDirty(true, true)
            await later()
        }
        return [...size, app.canvas.ds.scale]
        """,
        kind,
        MARGIN,
        TITLE,
        IMAGE_PX,
    )
    shot = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    return shot.crop((0, 0, round(wide * scale), round(high * scale)))


def main(names: list[str]) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with ComfyServer() as server:
        draw_photos(server.base / "input")
        server.post("/settings/Comfy.TutorialCompleted", True)
        server.run(saving_ann().api_graph())
        with frontend(server.url, *WINDOW_PX) as page:
            without_menus(page)
            everything = graph_of_all()
            show(page, server, everything)
            page.call("await new Promise(done => setTimeout(done, 2000))")
            for name in names or sorted({node.kind for node in everything.nodes if node.kind.startswith(PREFIX)}):
                image_of(page, name).save(IMAGES / f"{name}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
