"""A small base that knows how these images look, but not who is who, learns two people through the adapter.

Their faces are patterns of latents; who a generated face is, a recognizer of random convolutions says.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from withanyone_pack.tests.training.small_cache import LEFT, RIGHT, landmarks_in, small_cache
from withanyone_pack.tests.training.small_trainer import Recognizer, small_base, small_frozen, small_trainer

from training.base.registry import velocity
from training.loop.draws import Draws
from training.loop.sampling import Person, Sample
from training.loop.step import FrozenModels
from training.loop.train import train
from training.loop.validation import Scene, generate_image
from training.losses.decode import decoded
from training.losses.flow import add_noise, target_velocity
from training.losses.identity import TargetFaces, face_embeddings

SIDE = 64 // 8
STEPS = 480
TAUGHT = 300
HIDDEN = 128
AMPLITUDE = 3


class Centred(nn.Module):
    """Embeddings less what all images have in common: cosines tell people apart as a trained recognizer's do."""

    def __init__(self, recognizer, images, faces):
        super().__init__()
        self.recognizer = recognizer
        self.mean = face_embeddings(images, faces, recognizer).mean(0)

    def forward(self, crops):
        return self.recognizer(crops) - self.mean


def face_latent(present, boxes, index):
    """A grey image with each person's pattern in their box; two photos of a person differ a little."""
    mean = torch.zeros(16, SIDE, SIDE)
    for person, box in zip(present, boxes, strict=True):
        x1, y1, x2, y2 = (round(value * SIDE) for value in box)
        pattern = Draws(0, person).normal("person", (16, 1, 1)).expand(16, y2 - y1, x2 - x1)
        photo = 0.2 * Draws(1, index, person).normal("photo", tuple(pattern.shape))
        mean[:, y1:y2, x1:x2] = AMPLITUDE * pattern + photo
    return mean


def embeddings_of(frozen, latent, boxes):
    with torch.no_grad():
        pixels = decoded(frozen.vae, latent, frozen.scale)
        places = [landmarks_in(box) for box in boxes]
        faces = TargetFaces(torch.zeros(len(places), dtype=torch.int64), np.stack(places))
        return face_embeddings(pixels, faces, frozen.recognizer)


def with_embeddings(photos, frozen):
    """The cache with the embeddings that the recognizer has for its latents."""
    embeddings = torch.cat(
        [
            embeddings_of(
                frozen,
                frozen.scale.into_model(photos.latent(image, 0)[0])[None],
                [face.box for face in image.crops[0].faces],
            )
            for image in photos.images
        ]
    )
    return replace(photos, arcface=embeddings)


def taught(transformer, photos, scale):
    """Teaches a base model what the cache's images look like, without adapter or names."""
    transformer.requires_grad_(True)
    clean = torch.stack([scale.into_model(photos.latent(image, 0)[0]) for image in photos.images])
    text = photos.dummy_text(0)
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=2e-3)
    for step in range(TAUGHT):
        rows = torch.randint(len(clean), (8,), generator=Draws(0, step).torch_generator("rows"))
        noise = Draws(0, step).normal("noise", (8, *clean.shape[1:]))
        sigmas = Draws(0, step).normal("levels", (8,)).sigmoid()
        noisy = add_noise(clean[rows], noise, sigmas)
        texts = {name: value.expand(8, *value.shape) for name, value in text.items()}
        predicted = velocity(transformer, noisy, sigmas, texts, 1.0)
        (predicted - target_velocity(clean[rows], noise)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return transformer.requires_grad_(False)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    return learn(tmp_path_factory.mktemp("overfit"))


def learn(folder):
    torch.set_num_threads(1)
    plain = small_frozen()
    photos = small_cache(photos=3, pairs=4, held_out=0, latents=face_latent)
    recognizer = Recognizer()
    images = decoded(
        plain.vae, torch.stack([plain.scale.into_model(photos.latent(p, 0)[0]) for p in photos.images]), plain.scale
    )
    everybody = TargetFaces(torch.arange(len(images)), np.stack([landmarks_in(LEFT)] * len(images)))
    frozen = FrozenModels(small_base(HIDDEN), plain.vae, plain.scale, Centred(recognizer, images.detach(), everybody))
    photos = with_embeddings(photos, frozen)
    taught(frozen.transformer, photos, frozen.scale)
    trainer = small_trainer(
        folder,
        f"optim.steps={STEPS}",
        "optim.lr=4e-3",
        "optim.batch_size=4",
        "validation.every_steps=1000",
        "save.every_steps=1000",
        "data.id_dropout=0",
        "id_loss.max_sigma=1",
        "optim.schedule=cosine",
        "id_loss.weight=1",
        photos=photos,
        frozen=frozen,
    )
    before = identity_loss(trainer)
    train(trainer)
    return trainer, photos, frozen, before


def identity_loss(trainer):
    """Over the same samples and noise every time, which training does not draw."""
    values = [trainer._accumulate(trainer.state.settings, step, 0).get("id", []) for step in range(10_000, 10_012)]
    trainer.state.optimizer.zero_grad()
    return float(np.mean([value for found in values for value in found]))


def test_the_identity_loss_falls_by_half(learnt):
    trainer, _, _, before = learnt
    after = identity_loss(trainer)
    assert after <= before / 2, (before, after)


def likeness(learnt, references):
    """Cosines [2, 2] of the left and the right face of a generated image with both people."""
    trainer, photos, frozen, _ = learnt
    people = tuple(
        Person(face, box, landmarks_in(box), face) for face, box in zip(references, (LEFT, RIGHT), strict=True)
    )
    pair = next(image.index for image in photos.images if image.people == 2)
    scene = Scene("pair", Sample(pair, 0, people, False, Draws(0, 0)))
    pixels = (
        torch.from_numpy(generate_image(photos, scene, frozen, trainer.socket, 12, 1.0)).permute(2, 0, 1)[None].float()
    )
    faces = TargetFaces(torch.zeros(2, dtype=torch.int64), np.stack([landmarks_in(LEFT), landmarks_in(RIGHT)]))
    made = face_embeddings(pixels, faces, frozen.recognizer)
    people_embeddings = torch.stack(
        [
            photos.arcface[[f for f, face in enumerate(photos.faces) if face.identity == person]].mean(0)
            for person in (0, 1)
        ]
    )
    return F.normalize(made, dim=1) @ F.normalize(people_embeddings, dim=1).T


def faces_of(photos, *people):
    return [next(index for index, face in enumerate(photos.faces) if face.identity == person) for person in people]


def test_each_face_is_nearer_to_its_own_person_than_to_the_other(learnt):
    cosines = likeness(learnt, faces_of(learnt[1], 0, 1))
    assert cosines[0, 0] > cosines[0, 1] + 0.1, cosines
    assert cosines[1, 1] > cosines[1, 0] + 0.1, cosines


def test_swapped_references_swap_the_people(learnt):
    cosines = likeness(learnt, faces_of(learnt[1], 1, 0))
    assert cosines[0, 1] > cosines[0, 0] + 0.1, cosines
    assert cosines[1, 0] > cosines[1, 1] + 0.1, cosines
