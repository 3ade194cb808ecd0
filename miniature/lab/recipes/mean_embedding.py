"""What the recognizer says of people on the mean over all photos of them.

The base model and its adapter learn together from exact embeddings: given one photo's reading, a model learns to
hedge between all people who could have been read so (measured: docs/miniature.md). A mean over many photos would do;
in a drawn world the limit of that mean can be had from the traits, for regression on them has it as its answer.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from tqdm import tqdm

from withanyone_core.faces.alignment import ARCFACE, aligned_face

from ...models.recognizer import SIDE_PX, IResNet
from ...weights_folder import WEIGHTS
from ...world.person import TRAITS
from .cards import digest_of
from .onnx_files import read_weights
from .pool import Pool
from .recognizer import FILE
from .upright import unit_pixels

AT_ONCE = 128
STEPS, PEOPLE_A_STEP, RATE = 2_000, 512, 2e-3


def mean_embeddings(pool: Pool, scratch: Path) -> np.ndarray:
    """Of each of a pool's faces the mean embedding of its person, float32 [faces, 512], kept in `scratch`."""
    path = scratch / f"embeddings_{digest_of(WEIGHTS / FILE).sha256[:12]}_{len(pool.faces)}.npy"
    if not path.exists():
        found = regressed(pool.faces["traits"], embeddings(pool))
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, found)
        os.replace(path.with_suffix(".part"), path)
    return np.load(path)


@torch.inference_mode()
def embeddings(pool: Pool) -> np.ndarray:
    """The recognizer's own embedding of each face, float32 [faces, 512]."""
    net = IResNet()
    read_weights(WEIGHTS / FILE, net)
    net.eval()
    starts = tqdm(range(0, len(pool.faces), AT_ONCE), desc="embeddings", disable=None)
    return np.concatenate([net(_crops(pool, pool.faces[start : start + AT_ONCE])).numpy() for start in starts])


def regressed(traits: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values [faces, E] as a smooth function of traits [faces, T], by least squares."""
    inputs, targets = torch.from_numpy(traits.copy()), torch.from_numpy(values)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(len(TRAITS), 384), nn.GELU(), nn.Linear(384, 384), nn.GELU(), nn.Linear(384, values.shape[1])
    )
    optimizer = torch.optim.AdamW(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (PEOPLE_A_STEP,))
        optimizer.zero_grad()
        mse_loss(net(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        return net(inputs).numpy()


def _crops(pool: Pool, faces: np.ndarray) -> Tensor:
    crops = [aligned_face(pool.pixels[face["image"]], face["landmarks"], ARCFACE, SIDE_PX) for face in faces]
    return unit_pixels(np.stack(crops))
