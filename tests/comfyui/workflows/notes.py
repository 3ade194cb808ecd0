"""The words in the shipped workflows: a note and a prompt each."""

FILES = (
    "Put the files into the folders named in the pack's README. Missing models can also be downloaded from the dialog "
    "that opens with this workflow; the face models (antelopev2) have to be fetched by hand."
)
RESEMBLANCE = (
    "**resemblance** 0 keeps who a person is and leaves the appearance to the prompt, 1 follows the photo and copies "
    "more of it."
)

NOTES = {
    "two_people": f"""## Two people with WithAnyone

1. {FILES}
2. Choose one photo of each person.
3. Look at the boxes: **box 1** is for the first person, **box 2** for the second. Write your own boxes or change \
`preset_seed` for others.
4. Write a prompt that says what the people do; how they look comes from the photos.
5. The *Identity Meter* says how much everybody looks like whom. It judges with the face models that are loaded; \
antelopev2 took part in the adapter's training and flatters it.

{RESEMBLANCE}
""",
    "portrait": f"""## A portrait

1. {FILES}
2. Choose a photo. Several of the same person are better: *Batch Images* into `photos`, and `combine`: mean.
3. The box is for the head, not for the whole person. Write your own, or change `preset_seed`.

{RESEMBLANCE}
""",
    "four_people": f"""## Four people, placed by an image

1. {FILES}
2. Choose a guide image with four faces: only their places are used. Its faces are numbered **from the left**.
3. Choose one photo of each person; person 1 goes to face 1, and so on. Another `box` in *Place Face* changes that; \
-1 takes the face that is most like the person.
4. *Who stands where* shows each person's cells and whether any overlap.
""",
    "face_layout": f"""## Heads drawn with the mouse

1. {FILES}
2. Choose an image to draw over: a guide, a sketch, or an earlier result. It is shown on the canvas after the first \
run and changes nothing else. Without one the canvas is empty.
3. **Drag** on the canvas of *Draw the heads here* to draw a box; drag a box or its edges to change it. Delete, \
Ctrl+D and Ctrl+Z do what they do elsewhere. Box 1 is for the first person, box 2 for the second.
4. A yellow mark says that a box is too small for a face or shares cells with another; click it to read which.
5. After a run the people's faces and names are on their boxes.
""",
    "style_lora": f"""## With a style LoRA

1. {FILES}
2. Put a FLUX.1 LoRA into `models/loras` and choose it in *Style LoRA*. `style.safetensors` is only a name: bring \
your own.
3. The LoRA may also come **after** *Apply WithAnyone*: it changes FLUX.1, never the adapter, so the image is the \
same.

Strong photographic or illustrated styles leave less likeness. Lower the LoRA first, then raise **resemblance**.
""",
    "refine": f"""## Two passes

1. {FILES}
2. The first pass, at 768 x 768, decides who stands where. Look at it before you trust the rest.
3. Its latent is enlarged by 1.5, and the second pass samples it again from **denoise** 0.45 on: higher changes \
more, lower keeps more of the enlarged blur.
4. With another size change `width` and `height` of the **second** *Released schedule* too.

Both passes use the same patched model: boxes are fractions of the canvas, and so fit any size.
""",
    "kontext_edit": """## New faces in an image you have

1. Put the files into the folders named in the pack's README. `withanyone.ke.safetensors` is unverified: the hub's \
name may differ; choose the **Ke** file in *WithAnyone adapter*. Antelopev2 has to be fetched by hand.
2. Choose the image to edit, best about square: the model was trained on such. Its faces are numbered \
**from the left**.
3. Choose a photo of each new person, one for each face. For one face only write its number into `which_faces` of \
*Blur its faces* (such as `2`) and connect *Apply WithAnyone* to the first *Place Face*.
4. FLUX.1 Kontext draws the whole image again, so the rest changes a little too.
""",
    "saved_identities": """## People from files

The two *Load Identity* need no photo, no face model and no SigLIP.

**The first time:** put the files into the folders named in the pack's README and choose the photos in *Make them \
once*. Right-click that group's title, *Set Group Nodes to Always*, and queue: both people are saved below \
`output/identities/people`. ComfyUI says that *Load Identity* does not find them yet; this once that is right. Set \
the group to *Never* again, press **R** to refresh, and queue.

A file can be shared or moved to `input/identities`. It holds a person's face: treat it like their photo.
""",
    "masks": f"""## Masks

1. {FILES}
2. Here each mask is a rectangle, so that nothing has to be drawn first.
3. **Draw your own:** *Load Image* with any image of the canvas' proportions, right-click, *Open in Mask Editor*, \
draw over where the head goes, save, and connect its `MASK` to *Place Face*.
4. *Who stands where* shows the 16-pixel cells each person owns: those at least half covered.
""",
    "resemblance_sweep": f"""## How far to turn resemblance

1. {FILES}
2. Choose a photo of a person, and **another photo** of the same person: another day, another light. Likeness is \
measured against that one, since a pasted photo would look like the first.
3. Queue. Five images from one noise differ only in **resemblance**: 0, 0.25, 0.5, 0.75 and 1, numbered 1 to 5 in \
the plot.

**Up** is more like the person. **Right** is more of the photo: +1 would be the photo itself, -1 the other one. Choose \
the highest image that is not far to the right.

The judge here is antelopev2, which the adapter was trained with: good for comparing these five, no figure to \
publish. For that load another pack, such as buffalo_l, in a second *Load Face Analysis* for the meter alone.
""",
    "measure_any_image": """## Who is in this image?

For images of **any** program: FLUX, Qwen, a face swap, a photo. Nothing here generates.

1. The judge is **dlib**, free for any use: `python -m pip install dlib-bin face_recognition_models` with ComfyUI's \
Python, then restart. Other judges of *Load Face Analysis* can be chosen as `pack`.
2. Choose an image, or connect the `IMAGE` of your own graph in its place; a batch is measured as a whole.
3. Choose two photos of each person, different days if possible. More are better: *Batch Images* again. How like each \
other they are is what copying is weighed against.
4. *Who is in it* has a line for each person in each image: **kept**, **drifted**, **dominated**, **blended**, \
**pasted** (copied from a photo), **lost**, **extra person**, or **unclear**.

Open the subgraph to name the people, to add a third and a fourth, or to connect `faces` of *Place Face*: only with \
places can people be **swapped**.

For whole folders: `python -m withanyone_core.identity_check`.
""",
    "until_alike": f"""## Until everybody looks like themselves

1. {FILES} This workflow also needs **buffalo_l**, which judges: a recognizer flatters what it took part in.
2. Choose one photo of each person, and **another photo** of each: another day, another light. Similarity is that to \
these, so that copying the first photo gains nothing.
3. Queue. Up to `draws` seeds are sampled a quarter of the way; the most promising are sampled to the end, until \
everybody is between `lowest_similarity` and `highest_similarity` and nobody copies more than `copy_paste_ceiling`. \
The person who is farthest off counts.
4. *What was spent, and why* has a line for each draw. What similarity is usual depends on the judge: see what the \
first lines say, and set the window by that.
5. Nobody reaches the window? Set `lowest_weight` to 0.7 and `highest_weight` to 1.4: further draws then look for each \
person's weight.

Cancel at any time: the best so far is kept.
""",
    "miniature": f"""## Two people of the miniature world

The same graph as *two_people*, with small loaders: models that come with the pack, nothing to download, nobody's \
photo, images in seconds without a GPU.

1. Queue. Box 1 is for the first person, box 2 for the second; the *Identity Meter* says who came out where. \
It judges with the recognizer that the adapter was trained with, which flatters it a little.
2. Another `person` in *Photo of person* is somebody else, another `noise_seed` another image. \
`resemblance` works as it does with the real adapter.
3. The prompt has this world's words: **one person** to **four people**; **park**, **beach**, **city**, **room**, \
**stage**; **daylight**, **sunset**, **moonlight**, **lamplight**, **neon**; then for each box its place, the person's \
expression (**calm**, **happy**, **sad**, **surprised**, **angry**) and direction (**left**, **ahead**, **right**).
4. Its models know few places, the presets of a canvas of 176 x 176: **left**, **right** for two people; one of \
**left**, **middle**, **right** for one; **upper middle**, **lower left**, **lower right** for three; **upper left**, \
**upper right**, **lower left**, **lower right** for four.

{RESEMBLANCE}
""",
}

PROMPTS = {
    "two_people": "A photo of two people sitting side by side at a wooden table in a sunlit café, both smiling at the "
    "camera, coffee cups in front of them, shallow depth of field, 50mm",
    "portrait": "A portrait photo of a person in a green raincoat on a windy pier, looking into the camera, grey sea "
    "behind, soft overcast light, 85mm",
    "four_people": "A photo of four friends standing side by side in a mountain meadow, laughing, wearing colourful "
    "hiking jackets, snowy peaks behind them, late afternoon sun",
    "face_layout": "A photo of three musicians on a small stage, the one in the middle standing further back, warm "
    "stage light, instruments in their hands, 35mm",
    "style_lora": "A gouache painting of two people sitting side by side on a park bench in autumn, both smiling, "
    "fallen leaves around them, warm colours",
    "until_alike": "A photo of two people leaning on the railing of a ferry, smiling at the camera, the harbour behind "
    "them, clear morning light, 50mm",
    "miniature": "two people, park, sunset: left happy right, right calm ahead",
    "kontext_edit": "A photo of two people standing next to each other, looking at the camera, natural light",
}
