"""`python -m tests.golden DIR`, from the repository's root, replays a folder of golden numbers."""

import importlib
import sys
from pathlib import Path

from ..pack import PACK, load_pack

arguments = sys.argv[1:]
if len(arguments) != 1 or not Path(arguments[0]).is_dir():
    sys.exit("usage: python -m tests.golden DIR   (a folder laid out like tests/golden/inference)")
load_pack()
sys.exit(importlib.import_module(f"{PACK}.tests.golden.replay").replay(Path(arguments[0]).resolve()))
