import json
import shutil
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file
from withanyone_pack.tests.pack import ROOT

GOLDEN = ROOT / "tests/golden/training"


def replay(folder):
    return subprocess.run(
        [sys.executable, "-m", "tests.golden", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def copied(folder, *names):
    for name in names:
        for ending in ("json", "safetensors"):
            shutil.copy(GOLDEN / f"{name}.{ending}", folder)
    return folder


def test_every_entry_is_reproduced_or_says_why_not():
    done = replay(GOLDEN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped (" not in done.stdout
    assert "flow.json: total loss 1: not applicable (the switch belongs to the detector" in done.stdout
    assert "negpool.json: pool: not applicable (negatives are rows of a bank" in done.stdout
    for name in ("align", "flow", "gt_aligned", "idloss", "infonce", "timesteps"):
        assert f"{name}.json: largest relative error" in done.stdout


CHANGED = {
    ("timesteps", "train_768.table"): "train_768 table",
    ("flow", "x0_estimate_latent"): "clean estimate",
    ("flow", "target"): "target",
    ("infonce", "b2f2_hardneg.loss"): "b2f2_hardneg loss",
    ("infonce", "b4f2_noext.grad_gen"): "b4f2_noext gradient",
    ("idloss", "c1.loss_fixed_order"): "c1",
    ("align", "c3.grad_image_pixel_exact"): "c3 gradient",
    ("align", "c2.similarity_2x3_image_to_template"): "c2 similarity",
    ("gt_aligned", "exact.grad_pred"): "gradient",
    ("gt_aligned", "exact.emb_gt"): "embeddings of targets",
}


def test_changed_numbers_fail(tmp_path):
    copied(tmp_path, *{name for name, _ in CHANGED})
    for name in {name for name, _ in CHANGED}:
        tensors = load_file(tmp_path / f"{name}.safetensors")
        keys = [key for changed, key in CHANGED if changed == name]
        tensors |= {key: tensors[key] + torch.tensor(1e-3) for key in keys}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    done = replay(tmp_path)
    assert done.returncode == 1
    for (name, _), case in CHANGED.items():
        assert f"{name}.json: {case}: failed" in done.stdout
    assert f" {len(CHANGED)} failed, " in done.stdout.splitlines()[-1]


def test_a_small_loss_is_compared_by_its_cosine(tmp_path):
    """In float32 a loss of 0.004 differs by some 1e-5 of itself from one processor to the next."""
    path = copied(tmp_path, "gt_aligned", "idloss") / "gt_aligned.safetensors"
    tensors = load_file(path)
    loss = tensors["exact.id_loss"]
    for moved, failed in ((2e-6, False), (2e-5, True)):
        save_file({**tensors, "exact.id_loss": loss + moved}, path)
        assert ("gt_aligned.json: loss: failed" in replay(tmp_path).stdout) is failed


def test_a_changed_mask_or_key_fails(tmp_path):
    path = copied(tmp_path, "masks") / "masks.json"
    masks = json.loads(path.read_text())
    masks["c1"]["bboxes"][0][0][0] += 16
    path.write_text(json.dumps(masks))
    shutil.copy(GOLDEN / "adapter_keys.json", tmp_path)
    keys = json.loads((GOLDEN / "adapter_keys.json").read_text())
    keys["sig_branch"]["ipa.5.to_q.weight"]["shape"] = [1, 2]
    (tmp_path / "adapter_keys.json").write_text(json.dumps(keys))
    done = replay(tmp_path)
    assert done.returncode == 1
    assert "masks.json: c1: failed" in done.stdout
    assert "adapter_keys.json: sig branch: failed" in done.stdout
