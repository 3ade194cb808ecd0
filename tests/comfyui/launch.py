"""Runs ComfyUI's main.py with the options given, ready for a torch without CUDA: python launch.py MAIN [OPTION...]."""

import ctypes
import os
import runpy
import signal
import sys
from pathlib import Path

main = Path(sys.argv[1]).resolve()
sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from pack import define_torchvision_operators

PR_SET_PDEATHSIG = 1
parent = int(os.environ["WITHANYONE_PARENT"])
# A server must not outlive a test run that was killed. The second line covers a parent that was faster than the first.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != parent:
    sys.exit("The process that asked for this server is gone.")

# From here on everything is as if main.py had been started itself.
sys.path[0] = str(main.parent)
sys.argv = [str(main), *sys.argv[2:]]
operators = define_torchvision_operators() if torch.version.cuda is None else None
runpy.run_path(str(main), run_name="__main__")
