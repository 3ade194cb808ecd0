"""The losses beyond the golden numbers: large faces, gates, negatives, and decoding in pieces."""

import cv2
import numpy as np
import pytest
import torch
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.base.flux1 import LatentScale, image_positions, pack, unpack
from training.cache.entries import FILLED, FOREIGN
from training.losses.contrast import Bank, contrast, draw_rows, drawn_mix, info_nce
from training.losses.flow import sample_latent
from training.losses.identity import TargetFaces, face_embeddings, samples_to_judge
from training.losses.warp import align_faces, clamped
from withanyone_core.faces.alignment import TEMPLATE_PX, similarity


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_image(height, width, seed=0):
    rough = torch.rand(1, 3, height // 16, width // 16, generator=seeded(seed))
    return 255 * torch.nn.functional.interpolate(rough, (height, width), mode="bicubic").clamp(0, 1)


def landmarks(scale, angle, shift):
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * TEMPLATE_PX @ turned.T + shift


@pytest.mark.parametrize(
    ("scale", "angle", "shift"), [(0.8, 0.3, (40, 20)), (1.7, -0.5, (-20, 60)), (1.0, 0, (-50, -30))]
)
def test_crops_are_where_opencv_puts_them(scale, angle, shift):
    image = smooth_image(256, 240)
    points = landmarks(scale, angle, shift)
    found = align_faces(image, torch.tensor([0]), points[None])[0].movedim(0, -1).numpy()
    array = image[0].movedim(0, -1).numpy()
    expected = cv2.warpAffine(array, similarity(points), (112, 112), flags=cv2.INTER_LINEAR, borderValue=0.0)
    # OpenCV rounds coordinates to a 32nd of a pixel.
    assert np.abs(found - expected).max() < 4.0
    assert np.abs(found - expected).mean() < 0.3


def test_large_faces_are_averaged_and_keep_their_place():
    """A face five times as large as its crop: no pixel is skipped, and nothing moves."""
    small = smooth_image(112, 112, 3)
    large = torch.nn.functional.interpolate(small, scale_factor=5, mode="nearest")
    points = 5 * (TEMPLATE_PX + 0.5) - 0.5
    found = align_faces(large, torch.tensor([0]), points[None])
    assert (found - small).abs().max() < 1.0
    noise = torch.zeros(1, 3, 560, 560)
    noise[..., ::2, ::2] = 255.0
    assert (align_faces(noise, torch.tensor([0]), points[None]) - 255 / 4).abs().mean() < 15


@pytest.mark.parametrize("times", [2, 3, 5])
def test_a_whole_step_is_the_same_whichever_way_it_was_rounded(times):
    """5 computed as 4.9999999 on another processor averages over 5 pixels, not 4."""
    image = 255 * torch.rand(1, 3, 112 * times, 112 * times, generator=seeded(7))
    points = times * (TEMPLATE_PX + 0.5) - 0.5
    crops = [
        align_faces(image, torch.tensor([0]), (points * (1 + off))[None]) for off in (-2e-7, -1e-9, 0.0, 1e-9, 2e-7)
    ]
    assert max((crop - crops[2]).abs().max() for crop in crops) < 0.05


def test_faces_of_several_sizes_and_images_keep_their_order():
    images = torch.cat([smooth_image(400, 400, seed) for seed in range(3)])
    points = [landmarks(scale, 0.1, (20, 30)) for scale in (3.2, 0.9, 2.4, 1.5)]
    which = torch.tensor([2, 0, 1, 0])
    together = align_faces(images, which, np.stack(points))
    for index, (image, point) in enumerate(zip(which, points, strict=True)):
        alone = align_faces(images[image][None], torch.tensor([0]), point[None])
        assert torch.equal(together[index], alone[0])


def test_no_faces_and_faces_without_spread():
    assert align_faces(torch.zeros(1, 3, 64, 64), torch.zeros(0, dtype=torch.long), np.zeros((0, 5, 2))).shape[0] == 0
    for points in (np.zeros((1, 5, 2)), np.full((1, 5, 2), np.nan)):
        with pytest.raises(ValueError, match="cannot be aligned: expected five different finite points"):
            align_faces(torch.zeros(1, 3, 64, 64), torch.tensor([0]), points)


def test_pixels_outside_the_range_are_cut_and_still_have_gradients():
    pixels = torch.tensor([-20.0, 100.0, 300.0], requires_grad=True)
    cut = clamped(pixels)
    cut.sum().backward()
    assert cut.tolist() == [0.0, 100.0, 255.0]
    assert pixels.grad.tolist() == [1.0, 1.0, 1.0]


def test_the_gate_is_per_sample_and_asks_for_a_face():
    faces = TargetFaces(torch.tensor([0, 0, 2, 3]), np.zeros((4, 5, 2)))
    sigmas = torch.tensor([0.2, 0.1, 0.61, 0.6])
    assert samples_to_judge(sigmas, faces).tolist() == [0, 3]
    assert samples_to_judge(sigmas, faces, 1.0).tolist() == [0, 2, 3]
    assert samples_to_judge(sigmas, faces, 0.0).tolist() == []


def test_the_faces_of_open_samples_are_renumbered():
    faces = TargetFaces(torch.tensor([0, 1, 1, 3]), np.arange(40.0).reshape(4, 5, 2))
    kept = faces.within(torch.tensor([1, 3]))
    assert kept.sample_F.tolist() == [0, 0, 1]
    assert np.array_equal(kept.landmarks_F52, faces.landmarks_F52[1:])


def test_landmarks_are_fractions_of_the_image():
    image = smooth_image(320, 240)
    points = landmarks(1.2, 0.2, (30, 60))
    faces = TargetFaces(torch.tensor([0]), points[None] / np.array([240, 320]))
    crop = face_embeddings(image, faces, lambda crops: crops)
    assert torch.allclose(crop, align_faces(image, torch.tensor([0]), points[None]), atol=1e-2)


def bank(filler=FILLED):
    """Two known people of 3 and 1 faces, five strangers, two fillers; in no order."""
    identities = torch.tensor([1, -1, 0, -1, 1, filler, -1, -1, 1, filler, -1])
    return Bank.of(torch.randn(11, 32, generator=seeded(2)), identities)


def test_draws_never_show_a_face_its_own_person():
    made = bank()
    rows = draw_rows(made, [0, 1, -1, 7], 4000, seeded())
    owners = made.owner_N[rows]
    assert rows.shape == (4, 4000)
    assert not (owners[0] == 0).any()
    assert not (owners[1] == 1).any()
    assert set(rows[2].tolist()) == set(rows[3].tolist()) == set(range(11))


def test_draws_are_uniform_over_people_and_then_over_their_faces():
    made = bank(filler=FOREIGN)
    counts = torch.bincount(draw_rows(made, [0], 80000, seeded())[0], minlength=11) / 80000
    people = {owner: counts[made.owner_N == owner] for owner in (1, 0)}
    assert people[0].sum() == 0
    assert abs(people[1].sum() - 1 / 8) < 0.01  # one of seven strangers and this person
    assert (people[1] - 1 / 24).abs().max() < 0.005
    assert (counts[made.owner_N < 0] - 1 / 8).abs().max() < 0.01


def test_draws_are_those_of_the_generator():
    made = bank()
    first, again, other = (draw_rows(made, [0, 1], 50, seeded(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_bank_of_one_person_or_none_is_refused():
    with pytest.raises(ValueError, match="one person only; add photos of other people"):
        draw_rows(Bank.of(torch.randn(3, 8), torch.zeros(3, dtype=torch.int32)), [0], 5)
    with pytest.raises(ValueError, match="holds 0 faces"):
        Bank.of(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int32))
    with pytest.raises(ValueError, match="NaN or infinite"):
        Bank.of(torch.full((2, 8), torch.nan), torch.tensor([0, -1]))


def test_negatives_of_the_same_person_and_look_alikes_are_dropped():
    generator = seeded(9)
    positives = torch.randn(3, 64, generator=generator)
    made = torch.randn(3, 64, generator=generator).requires_grad_()
    identities = torch.tensor([0, 1, -1])
    others = torch.cat([positives, torch.randn(2, 64, generator=generator)])
    other_identities = torch.tensor([0, 1, -1, 0, -1])
    alike = positives[1] + 0.5 * torch.randn(64, generator=generator)
    known = torch.randn(2, 64, generator=generator)
    bank = Bank.of(torch.stack([alike, *known]), torch.tensor([-1, -1, 0]))
    rows = torch.tensor([[0, 1, 2], [0, 1, 1], [1, 1, 2]])
    found = contrast(made, positives, identities, others, other_identities, bank, rows)
    # Face 0: not itself, not the second image of person 0, not that person's row of the bank. Face 1: not itself, not
    # its look-alike in the bank. Face 2, whom nobody knows: not itself, which is too alike.
    assert found.counts_F.tolist() == [3 + 2, 4 + 2, 4 + 3]
    unit = torch.nn.functional.normalize
    cosines = unit(made, dim=-1).detach() @ unit(torch.cat([others, bank.unit_NE]), dim=-1).T
    expected = cosines[1][[0, 2, 3, 4, 6, 6]]
    assert torch.isclose(found.hardest_F[1], expected.max())
    positive = torch.cosine_similarity(made[1], positives[1], dim=0)
    logits = torch.cat([positive[None], expected]) / 0.1
    assert torch.isclose(found.losses_F[1], logits.logsumexp(0) - logits[0], atol=1e-5)


def test_a_face_without_negatives_has_no_loss_and_no_gradient():
    positive = torch.tensor([0.3], requires_grad=True)
    loss = info_nce(positive, torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert positive.grad.item() == 0.0


def test_small_and_large_banks_give_the_same():
    embeddings = torch.randn(60, 32, generator=seeded(1))
    small, large = (Bank.of(embeddings.repeat(times, 1), torch.full((60 * times,), -1)) for times in (1, 20))
    faces, targets = torch.randn(2, 32, generator=seeded(2)), torch.randn(2, 32, generator=seeded(3))
    people, rows = torch.tensor([0, 1]), draw_rows(small, [0, 1], 100, seeded(4))
    found = [contrast(faces, targets, people, targets, people, bank, rows) for bank in (small, large)]
    assert len(small.unit_NE) < 2 * rows.numel() < len(large.unit_NE)  # the two ways to look
    assert torch.allclose(found[0].losses_F, found[1].losses_F)
    assert torch.equal(found[0].counts_F, found[1].counts_F)


def test_latents_are_drawn_scaled_and_packed():
    mean, logvar = torch.randn(2, 16, 4, 6, generator=seeded(1)), torch.randn(2, 16, 4, 6, generator=seeded(2))
    noise, scale = torch.randn(2, 16, 4, 6, generator=seeded(3)), LatentScale()
    latent = sample_latent(mean, logvar, noise, scale)
    assert torch.allclose(latent, 0.3611 * (mean + (0.5 * logvar).exp() * noise - 0.1159))
    assert torch.allclose(scale.out_of_model(latent), mean + (0.5 * logvar).exp() * noise, atol=1e-5)
    assert torch.equal(unpack(pack(latent), 2, 3), latent)
    assert image_positions(2, 3).tolist() == [[0, row, column] for row in range(2) for column in range(3)]


def test_a_sample_at_the_bound_is_open_however_its_sigma_was_computed():
    one_face = TargetFaces(torch.tensor([0]), np.zeros((1, 5, 2)))
    for sigma in (np.nextafter(np.float32(0.6), np.float32(1)), 0.1 + 0.2 + 0.3, 3 * 0.2):
        assert samples_to_judge(torch.tensor([sigma], dtype=torch.float64), one_face).tolist() == [0]
    assert samples_to_judge(torch.tensor([0.600001]), one_face).tolist() == []


def test_a_strangers_own_target_is_no_negative_at_any_bound():
    """Its cosine with itself is 1 or a hair beside it."""
    targets = torch.randn(64, 512, generator=seeded(2))
    nobody = torch.full((64,), -1)
    found = contrast(targets, targets, nobody, targets, nobody, same_person=1.0)
    assert found.counts_F.tolist() == [63] * 64


def filled_bank(own=(5, 4, 3), strangers=6, fillers=50):
    marks = [number for number, count in enumerate(own) for _ in range(count)] + [FOREIGN] * strangers
    marks += [FILLED] * fillers
    embeddings = torch.randn(len(marks), 16, generator=torch.Generator().manual_seed(0))
    return Bank.of(embeddings, torch.tensor(marks))


def test_real_faces_come_first_and_fillers_only_fill_up():
    bank = filled_bank()
    rows = draw_rows(bank, [0, 2, -1], 40, torch.Generator().manual_seed(1))
    for drawn, own, real in zip(rows, (0, 2, None), (13, 15, 18), strict=True):
        owners = bank.owner_N[drawn]
        assert (owners != FILLED).sum() == real  # everybody else, each face once
        assert len(set(drawn[owners != FILLED].tolist())) == real
        assert own is None or (owners != own).all()
    few = draw_rows(bank, [0], 12, torch.Generator().manual_seed(1))
    assert (bank.owner_N[few] != FILLED).all()
    assert drawn_mix(bank, 40) == pytest.approx((8, 6, 26))


def test_a_bank_of_one_person_and_fillers_has_fillers_alone():
    bank = filled_bank(own=(5,), strangers=0)
    assert (bank.owner_N[draw_rows(bank, [0], 9)] == FILLED).all()
