import json
import shutil
import subprocess
import sys

from withanyone_pack.tests.pack import ROOT

GOLDEN = ROOT / "tests/golden/training"


def replay(folder):
    return subprocess.run(
        [sys.executable, "-m", "tests.golden", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_benchmarks_arithmetic_is_reproduced(tmp_path):
    for name in ("bench_stats.json", "copypaste.json", "copypaste.safetensors"):
        shutil.copy(GOLDEN / name, tmp_path / name)
    done = replay(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "140 passed, 0 failed, 0 skipped"


def test_a_changed_number_fails_the_replay(tmp_path):
    shutil.copy(GOLDEN / "copypaste.safetensors", tmp_path)
    copy_paste = json.loads((GOLDEN / "copypaste.json").read_text())
    copy_paste["triples"][3] += 1e-4
    copy_paste["multi"][2]["sim_ref"][1] -= 1e-4
    copy_paste["multi"][5]["off_gt"] += 1e-4
    (tmp_path / "copypaste.json").write_text(json.dumps(copy_paste))
    lists = json.loads((GOLDEN / "bench_stats.json").read_text())
    lists[0]["result"]["outliers_removed"] += 1
    lists[1]["result"]["std"] += 1e-5
    lists[5]["result"] = {"mean": 0.0}
    (tmp_path / "bench_stats.json").write_text(json.dumps(lists))
    done = replay(tmp_path)
    assert done.returncode == 1
    for case in ("triple 3", "triple 3 legacy", "multi2 sim_ref", "multi5 off_gt", "list 0 outliers_removed"):
        assert f": {case}: failed" in done.stdout
    assert ": list 1 std: failed" in done.stdout
    assert ": list 5: failed" in done.stdout
    assert " 7 failed, " in done.stdout.splitlines()[-1]
