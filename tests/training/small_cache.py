"""A cache in memory: two people or more, with latents, embeddings and texts of any size."""

import numpy as np
import torch
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.cache.cache import Cache
from training.cache.entries import FOREIGN, CropEntry, CropFace, FaceRecord, ImageEntry, Negatives

LEFT, RIGHT, WHOLE = (0.05, 0.2, 0.45, 0.8), (0.55, 0.2, 0.95, 0.8), (0.25, 0.2, 0.75, 0.8)
# Where the template has eyes, nose and mouth, in fractions of the face's box.
LANDMARKS = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]], np.float32)
TOKENS, T5_WIDTH, POOLED_WIDTH = 6, 32, 16
SIGLIP_TOKENS, SIGLIP_WIDTH = 4, 24


def landmarks_in(box):
    x1, y1, x2, y2 = box
    return LANDMARKS * np.array([x2 - x1, y2 - y1], np.float32) + np.array([x1, y1], np.float32)


def small_cache(
    photos=4, people=2, size_px=64, held_out=1, pairs=2, negatives=12, embedding=512, seed=0, latents=None, variants=0
):
    """`photos` of each person alone and `pairs` of neighbours together; the last `held_out` of each are held out.

    latents  (people in the image, boxes, number) -> mean [16, h, w]; random where None
    """
    generator = torch.Generator().manual_seed(seed)
    centres = 10 * torch.nn.functional.normalize(torch.randn(people, embedding, generator=generator), dim=1)
    shown = [((person,), number >= photos - held_out) for person in range(people) for number in range(photos)]
    shown += [((n % people, (n + 1) % people), False) for n in range(pairs)] if people > 1 else []
    tensors, images, faces, embeddings = {}, [], [], []
    for index, (present, is_held_out) in enumerate(shown):
        boxes = (WHOLE,) if len(present) == 1 else (LEFT, RIGHT)
        cut = []
        for person, box in zip(present, boxes, strict=True):
            cut.append(CropFace(len(faces), box, landmarks_in(box)))
            jittered = tuple(f"face{len(faces)}v{number}" for number in range(variants))
            faces.append(FaceRecord(person, index, box, landmarks_in(box), (), f"face{len(faces)}", jittered))
            for key, what in ((key, what) for key in jittered for what in ("tokens", "flipped")):
                tensors[f"{key}.{what}"] = torch.randn(SIGLIP_TOKENS, SIGLIP_WIDTH, generator=generator)
            embeddings.append(centres[person] + 0.25 * torch.randn(embedding, generator=generator))
            for what in ("tokens", "flipped"):
                name = f"face{len(faces) - 1}.{what}"
                tensors[name] = torch.randn(SIGLIP_TOKENS, SIGLIP_WIDTH, generator=generator)
        mean = torch.randn(16, size_px // 8, size_px // 8, generator=generator)
        tensors[f"latent{index}.mean"] = mean if latents is None else latents(present, boxes, index)
        tensors[f"latent{index}.logvar"] = torch.full_like(mean, -6.0)
        tensors |= text(f"text{index}", generator)
        crop = CropEntry(size_px, size_px, tuple(cut), f"latent{index}")
        images.append(
            ImageEntry(
                index,
                f"{index}.jpg",
                f"{index}.jpg",
                f"{index}",
                f"photo {index}",
                (crop,),
                is_held_out,
                f"text{index}",
            )
        )
    for count in range(5):
        tensors |= text(f"count{count}", generator)
    return Cache(
        identities=tuple(f"person {number}" for number in range(people)),
        images=tuple(images),
        faces=tuple(faces),
        arcface=torch.stack(embeddings),
        negatives=Negatives(
            10 * torch.nn.functional.normalize(torch.randn(negatives, embedding, generator=generator), dim=1),
            torch.full((negatives,), FOREIGN, dtype=torch.int32),
        ),
        dummies=tuple(f"count{count}" for count in range(5)),
        tensors=tensors,
        data="0" * 64,
    )


def text(key, generator):
    return {
        f"{key}.t5": torch.randn(TOKENS, T5_WIDTH, generator=generator),
        f"{key}.pooled": torch.randn(POOLED_WIDTH, generator=generator),
    }
