"""The laboratory's commands start in a bare clone: no installed package, no PYTHONPATH, whatever folder one is in."""

import subprocess
import sys

from withanyone_pack.tests.pack import ROOT

LAB = ROOT / "miniature/lab"
# All in one process, which keeps torch and forgets what is the clone's: ten starts of torch would take a minute.
SCRIPT = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from pack import make_torchvision_importable
make_torchvision_importable()
usual = [entry for entry in sys.path if entry and not {str(ROOT)!r}.startswith(entry)]
for name in sys.argv[1:]:
    for module in [each for each in sys.modules if each.split(".")[0] in ("miniature", "training", "withanyone_core")]:
        del sys.modules[module]
    path = {str(LAB)!r} + "/" + name
    sys.path[:], sys.argv[:] = [{str(LAB)!r}, *usual], [path, "--help"]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        print("ENDED", name, end.code)
"""


def test_every_command_prints_its_help(tmp_path):
    names = sorted(path.name for path in LAB.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
    assert {"train.py", "train_adapter.py", "measure.py", "evaluate.py", "photos.py"} <= set(names)
    command = [sys.executable, "-c", SCRIPT, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("ENDED")] == [f"ENDED {n} 0" for n in names]
