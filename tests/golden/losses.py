"""Replays of the training mathematics: sigmas, flow matching, aligned crops, identity loss, InfoNCE, masks."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..training.rooms import add_training
from .report import Outcome, exact, not_applicable
from .stored import tensors, under

LOSS, GRADIENT, SIMILARITY, TABLE, PIXEL, WARP_GRADIENT, MATRIX = 1e-5, 1e-6, 1e-5, 1e-6, 0.05, 1e-5, 1e-4
LAST_BIT = 1e-6  # of the logits that the stored terms are differences of
FORCE_ALIGN = "the switch belongs to the detector inside the released step; targets are aligned by cached landmarks"
PUBLISHED_WARP = "the affine bicubic crop is replaced by the recognizer's own: a similarity, bilinear"
BEST_OF_TWO = "faces keep their order; nobody may be swapped"
NOT_RESCALED = "records a wrong range of the released step"
POOL = "negatives are rows of a bank chosen by index; no pool is copied a face"


def timesteps(path: Path) -> Iterator[Outcome]:
    add_training()
    from training.losses.flow import SIGMAS, sigma_table

    stored, about = tensors(path.with_suffix(".safetensors")), json.loads(path.read_text())
    for name, case in about.items():
        table = sigma_table(case["image_tokens"])
        yield near(f"{name} table", table, stored[f"{name}.table"], TABLE)
        yield near(f"{name} levels", table[stored[f"{name}.first64_indices"]], stored[f"{name}.first64_t"], TABLE)
        seeded = torch.Generator().manual_seed(case.get("torch_manual_seed", 0))
        drawn = table[torch.randint(0, SIGMAS, (case.get("n", 0),), generator=seeded)]
        for key, value in _statistics(drawn, table).items():
            if key in case:
                yield near(f"{name} {key}", torch.tensor(value), torch.tensor(case[key]), TABLE)


def flow(path: Path) -> Iterator[Outcome]:
    add_training()
    from training.base import flux1
    from training.losses import flow
    from training.losses.identity import TargetFaces, samples_to_judge

    stored = tensors(path.with_suffix(".safetensors"))
    latent, levels, velocity = stored["latent"], stored["t"], stored["velocity"]
    tokens = flux1.pack(latent)
    yield near("packed", tokens, stored["packed"], 0)
    noisy, target = flow.add_noise(tokens, stored["noise"], levels), flow.target_velocity(tokens, stored["noise"])
    yield near("mixed", noisy, stored["x_t"], TABLE)
    yield near("target", target, stored["target"], TABLE)
    yield relative("loss", flow.flow_losses(velocity, target).mean(), stored["diff_loss"], LOSS)
    clean = flux1.unpack(flow.clean_estimate(noisy, velocity, levels), latent.shape[2] // 2, latent.shape[3] // 2)
    yield near("clean estimate", clean, stored["x0_estimate_latent"], SIMILARITY)
    one_face = TargetFaces(torch.tensor([0]), np.zeros((1, 5, 2)))
    for index, case in enumerate(json.loads(path.read_text())["total_loss"]):
        if case["force_align"]:
            yield not_applicable(f"total loss {index}", FORCE_ALIGN)
            continue
        is_open = len(samples_to_judge(torch.tensor([case["t_first_sample"]]), one_face))
        total = case["diff"] + is_open * (case["w_id"] * case["id"] + case["w_nce"] * case["nce"])
        yield relative(f"total loss {index}", torch.tensor(total), torch.tensor(case["total"]), LOSS)


def info_nce(path: Path) -> Iterator[Outcome]:
    add_training()
    from training.losses.contrast import Bank, contrast

    stored = tensors(path.with_suffix(".safetensors"))
    for name, about in json.loads(path.read_text()).items():
        made = stored[f"{name}.gen"].clone().requires_grad_()
        faces, targets = made.flatten(0, 1), stored[f"{name}.gt"].flatten(0, 1)
        people = torch.arange(len(faces))
        bank = rows = None
        if f"{name}.ext" in stored:
            extended = stored[f"{name}.ext"].flatten(0, 1)
            bank = Bank.of(extended.flatten(0, 1), torch.full((extended.shape[0] * extended.shape[1],), -1))
            rows = torch.arange(len(bank.unit_NE)).view(len(faces), -1)
        # The stored loss drops nothing but the face's own target.
        found = contrast(faces, targets, people, targets, people, bank, rows, about["tau"], same_person=2.0)
        loss = found.losses_F.mean()
        loss.backward()
        yield relative(f"{name} loss", loss.detach(), stored[f"{name}.loss"], LOSS)
        yield near(f"{name} terms", found.losses_F.detach(), stored[f"{name}.loss_per_anchor"], LAST_BIT)
        yield near(f"{name} gradient", made.grad, stored[f"{name}.grad_gen"], GRADIENT)
        yield exact(f"{name} negatives", found.counts_F.unique().tolist(), [about["negatives_per_anchor"]])
        cosines = F.cosine_similarity(faces.detach(), targets, dim=-1)
        yield near(f"{name} positives", cosines, torch.tensor(about["positive_cos"]), SIMILARITY)


def identity_loss(path: Path) -> Iterator[Outcome]:
    add_training()
    from training.losses.identity import identity_losses

    stored = tensors(path.with_suffix(".safetensors"))
    for name in json.loads(path.read_text()):
        made = stored[f"{name}.gen"].clone().requires_grad_()
        loss = identity_losses(made, stored[f"{name}.gt"]).mean()
        reference = stored.get(f"{name}.loss_fixed_order", stored.get(f"{name}.loss"))
        yield by_cosine(name, loss.detach(), reference)
        if f"{name}.grad_fixed_order" in stored:
            loss.backward()
            yield near(f"{name} gradient", made.grad, stored[f"{name}.grad_fixed_order"], GRADIENT)
        if f"{name}.loss_best_of_two_orders" in stored:
            yield not_applicable(f"{name} best of two orders", BEST_OF_TWO)


def align(path: Path) -> Iterator[Outcome]:
    add_training()
    from training.losses.warp import align_faces
    from withanyone_core.faces.alignment import similarity

    stored = tensors(path.with_suffix(".safetensors"))
    for name in json.loads(path.read_text()):
        case = under(f"{name}.", stored)
        matrix = torch.from_numpy(similarity(case["landmarks_xy"].numpy())).float()
        yield near(f"{name} similarity", matrix, case["similarity_2x3_image_to_template"], MATRIX)
        image = case["image_hwc_0_255"].clone().requires_grad_()
        crop = align_faces(image.permute(2, 0, 1)[None], torch.tensor([0]), case["landmarks_xy"][None])[0]
        crop = crop.permute(1, 2, 0)
        (case["loss_weight"] * crop).sum().backward()
        yield near(f"{name} crop", crop.detach(), case["aligned_similarity_bilinear_pixel_exact"], PIXEL)
        yield near(f"{name} gradient", image.grad, case["grad_image_pixel_exact"], WARP_GRADIENT)
        yield not_applicable(f"{name} published crops", PUBLISHED_WARP)


def gt_aligned(path: Path) -> Iterator[Outcome]:
    add_training()
    from training.losses.identity import TargetFaces, face_embeddings, identity_losses

    stored = tensors(path.with_suffix(".safetensors"))
    images, people = stored["landmarks_xy"].shape[:2]
    sizes = stored["pred_m1_1"].shape[:1:-1]
    landmarks = stored["landmarks_xy"].flatten(0, 1).double().numpy() / np.array(sizes)
    faces = TargetFaces(torch.arange(images).repeat_interleave(people), landmarks)
    recognizer = partial(_standin, stored["standin_weight"], stored["standin_bias"])
    made_from = stored["pred_m1_1"].clone().requires_grad_()
    made = face_embeddings(127.5 * (made_from + 1), faces, recognizer)
    wanted = face_embeddings(127.5 * (stored["gt_m1_1"] + 1), faces, recognizer)
    loss = identity_losses(made, wanted).mean()
    loss.backward()
    shape = stored["exact.emb_pred"].shape
    yield relative("embeddings of predictions", made.detach().view(shape), stored["exact.emb_pred"], SIMILARITY)
    yield relative("embeddings of targets", wanted.view(shape), stored["exact.emb_gt"], SIMILARITY)
    yield by_cosine("loss", loss.detach(), stored["exact.id_loss"])
    yield near("gradient", made_from.grad, stored["exact.grad_pred"], GRADIENT)
    yield not_applicable("published crops", PUBLISHED_WARP)
    yield not_applicable("target not rescaled", NOT_RESCALED)


def masks(path: Path) -> Iterator[Outcome]:
    from ...withanyone_core.canvas import CELL_PX
    from ...withanyone_core.regions.cells import Grid, region_cells
    from ...withanyone_core.regions.layout import Box

    stored = tensors(path.with_suffix(".safetensors"))
    for name, case in json.loads(path.read_text()).items():
        width_px, height_px = case["width"], case["height"]
        grid = Grid(width_px // CELL_PX, height_px // CELL_PX, width_px, height_px)
        found = [
            [region_cells(Box.from_px(*box, width_px, height_px), grid).int().tolist() for box in boxes]
            for boxes in case["bboxes"]
        ]
        yield exact(name, found, stored[f"{name}.region_of_each_token_per_identity"].int().tolist())
        seen = sum(sum(map(sum, sample)) for sample in found) * case["tokens_per_identity"]
        yield exact(f"{name} true entries", seen, case["true_count"])


def adapter_keys(path: Path) -> Iterator[Outcome]:
    """Names and shapes in a merged file of every trained tensor that the inference network has."""
    from ...withanyone_core.adapter.checkpoint import expected_keys
    from ...withanyone_core.adapter.shape import BranchShape

    stored = json.loads(path.read_text())
    for name, siglip in (("arc", None), ("sig", 768)):
        shape = BranchShape(hidden=3072, heads=24, layers=57, arc_tokens=8, embedding=512, siglip_width=siglip)
        used = {
            case["merged"]: tuple(case["shape"])
            for case in stored[f"{name}_branch"].values()
            if case["used_at_inference"]
        }
        yield exact(f"{name} branch", expected_keys(shape, "dual"), used)


def negative_pool(path: Path) -> Iterator[Outcome]:
    yield not_applicable("pool", POOL)


def near(case: str, value: Tensor, reference: Tensor, gate: float) -> Outcome:
    """Absolute difference."""
    if value.shape != reference.shape:
        return exact(case, list(value.shape), list(reference.shape))
    error = (value.double() - reference.double()).abs().max().item()
    return Outcome(case, "passed" if error <= gate else "failed", error, "" if error <= gate else f"gate {gate:g}")


def relative(case: str, value: Tensor, reference: Tensor, gate: float) -> Outcome:
    """Difference relative to the largest reference value, from values as small as a thousandth."""
    scale = reference.double().abs().max().clamp(min=1e-3)
    return near(case, value.double() / scale, reference.double() / scale, gate)


def by_cosine(case: str, loss: Tensor, reference: Tensor) -> Outcome:
    """Losses `1 - cosine` by their cosine: in float32 a loss of 0.004 has itself no more than five sure digits."""
    return near(case, 1 - loss.double(), 1 - reference.double(), SIMILARITY)


def _statistics(drawn: Tensor, table: Tensor) -> dict[str, float | list[float]]:
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    return {
        "mean": drawn.mean().item(),
        "std": drawn.std().item(),
        "q05_25_50_75_95": drawn[:100000].quantile(quantiles).tolist(),
        "fraction_above_0p6": (drawn > 0.6).double().mean().item(),
        "fraction_above_0p6_of_table": (table > 0.6).double().mean().item(),
    }


def _standin(weight: Tensor, bias: Tensor, crops: Tensor) -> Tensor:
    """The folder's linear stand-in for a recognizer."""
    pooled = F.adaptive_avg_pool2d((crops - 127.5) / 127.5, 7).flatten(1)
    return pooled @ weight.T + bias
