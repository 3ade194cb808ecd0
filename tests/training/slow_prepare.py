"""`python slow_prepare.py DATA CACHE SECONDS`: prepare with stand-ins, each image taking so long, to be killed."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pack import load_pack

load_pack()

from withanyone_pack.tests.training import coded_faces as coded

from training.preparing.preparing import prepare


class SlowImages(coded.SmallImages):
    def encode(self, pixels):
        time.sleep(float(sys.argv[3]))
        return super().encode(pixels)


settings = coded.settings(Path(sys.argv[1]), Path(sys.argv[2]), shard_mb=0.01)
prepare(settings, lambda: coded.models(image=SlowImages()))
