"""Settings for tests: the shipped recipe, what must be given beside it, and files of settings."""

from ..pack import ROOT
from .rooms import add_training

add_training()
from training.configuration.finetune import Finetune
from training.configuration.reading import read_settings

RECIPE = ROOT / "training" / "recipes" / "finetune.yaml"
GIVEN = ["out=run", "base.path=flux", "adapter.init=none", "data.cache=cache", "id_loss.recognizer=face.onnx"]


def finetune(*changes, path=None):
    return read_settings(Finetune, path, [*GIVEN, *changes])


def written(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path
