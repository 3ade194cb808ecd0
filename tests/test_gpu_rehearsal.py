"""The command for the first half hour on a GPU, run small on whatever this machine has."""

import json
import os
import subprocess
import sys

import pytest
from withanyone_pack.tests.pack import ROOT, TESTBED

BENCHMARKS = ROOT / "benchmarks"
PACKED = ("diffusers", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "torchsde", "trampoline")


@pytest.fixture
def rehearsal(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_rehearsal

    return gpu_rehearsal


def script(tmp_path, text):
    path = tmp_path / "stage.py"
    path.write_text(text)
    return str(path)


@pytest.mark.comfyui
def test_dry_runs_every_stage_and_says_pass_last(tmp_path):
    command = [sys.executable, "benchmarks/gpu_rehearsal.py", "--dry", "--out", str(tmp_path)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **threads})
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(tmp_path.glob("*.txt")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert done.stdout.splitlines()[-1].startswith("PASS: 9 stages on ")
    results = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json") if "." not in path.stem}
    assert len(results) == 9
    for name, result in results.items():
        assert result["passed"], name
        assert (tmp_path / f"{name}.txt").stat().st_size, name
    figures = (tmp_path / "FIGURES.md").read_text()
    for words in (
        "matmul rate",
        "launches of a step",
        "host syncs of a step",
        "Apply, fp8",
        "resumed at 1",
        "a training step",
    ):
        assert words in figures, words


def test_a_stage_that_hangs_is_ended_and_said_to_be(rehearsal, tmp_path):
    hanging = script(tmp_path, "import time\ntime.sleep(600)\n")
    stage = rehearsal.Stage("hanging", "nothing", 5, hanging, (), ())
    result = rehearsal.run(stage, tmp_path, False, rehearsal.Card.here())
    assert (result.passed, result.ended) == (False, "timed out")
    assert json.loads((tmp_path / "hanging.json").read_text())["ended"] == "timed out"


def test_a_stage_that_fails_keeps_the_figures_it_had(rehearsal, tmp_path):
    failing = script(
        tmp_path, 'import pathlib, sys\npathlib.Path(sys.argv[2]).write_text(\'{"a": {"b": "1 ms"}}\')\nsys.exit(3)\n'
    )
    stage = rehearsal.Stage("failing", "nothing", 60, failing, (), ())
    card = rehearsal.Card("A card", "driver 1", "2.11", "CUDA 13.0")
    result = rehearsal.run(stage, tmp_path, False, card)
    assert (result.passed, result.ended) == (False, "failed (3)")
    table = rehearsal.tables([result], card)
    assert "A card, driver 1, torch 2.11, CUDA 13.0; a;" in table
    assert "| b | 1 ms |" in table


def test_stages_run_one_by_one_are_reported_together(rehearsal, tmp_path):
    quick = script(tmp_path, "import pathlib, sys\npathlib.Path(sys.argv[2]).write_text('{}')\n")
    card = rehearsal.Card("A card", "driver 1", "2.11", "CUDA 13.0")
    for name in ("waits", "imports"):
        rehearsal.run(rehearsal.Stage(name, "nothing", 60, quick, (), ()), tmp_path, False, card)
    results = rehearsal.results_in(tmp_path)
    assert [(result.stage, result.passed) for result in results] == [("imports", True), ("waits", True)]


@pytest.mark.skipif(not (TESTBED / "comfyui").is_dir(), reason="packs the test bed's ComfyUI")
def test_what_is_packed_is_ignored_by_git_and_its_size_is_reported(tmp_path):
    """In a clone, so that nothing is written beside this one."""
    clone, packages = tmp_path / "clone", tmp_path / "packages"
    subprocess.run(["git", "clone", "-q", "--shared", "--no-checkout", str(ROOT), str(clone)], check=True)
    (clone / "benchmarks").mkdir()
    for name in (".gitignore", "benchmarks/pack_for_gpu.sh"):
        (clone / name).write_bytes((ROOT / name).read_bytes())
    for name in (*PACKED, "bitsandbytes"):
        (packages / name).mkdir(parents=True)
    for library in ("cuda128", "cuda130", "cpu", "rocm72"):
        (packages / "bitsandbytes" / f"libbitsandbytes_{library}.so").write_bytes(b"0")
    done = subprocess.run(
        ["bash", str(clone / "benchmarks/pack_for_gpu.sh"), str(packages)],
        env={**os.environ, "WITHANYONE_TESTBED": str(TESTBED)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "MiB  in all" in done.stdout
    packed = clone / ".testbed" / "gpu"
    libraries = sorted(path.name for path in (packed / "packages" / "bitsandbytes").iterdir())
    assert libraries == ["libbitsandbytes_cpu.so", "libbitsandbytes_cuda130.so"]
    assert (packed / "comfyui" / "comfy" / "model_management.py").is_file()
    assert not list((packed / "comfyui").rglob("tokenizer.json"))
    status = subprocess.run(["git", "status", "--short", ".testbed"], cwd=clone, capture_output=True, text=True)
    assert status.stdout == ""
