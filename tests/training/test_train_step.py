import subprocess
import sys

from withanyone_pack.tests.pack import ROOT


def test_the_benchmark_runs_small_and_counts_a_preset():
    command = [sys.executable, "benchmarks/train_step.py", "--small", "--side", "64", "--batch", "1", "--repeats", "1"]
    done = subprocess.run([*command, "--presets", "24gb"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("negatives, 8 faces x 4096", "masks, 1 images", "step  ", "limit, dense adapter", "% of the rate"):
        assert words in done.stdout
    preset = next(line for line in done.stdout.splitlines() if line.startswith("preset 24gb"))
    for words in ("TFLOP a sample", "GiB (computed)", "not run"):
        assert words in preset
