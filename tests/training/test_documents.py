"""The settings that documents name are those of finetune.py."""

import re

from withanyone_pack.tests.test_documents import lines
from withanyone_pack.tests.training.rooms import add_training

add_training()

from training.configuration.finetune import Finetune
from training.configuration.reading import known_keys

SECTIONS = (
    *("base", "adapter", "train", "data", "optim", "noise", "id_loss", "nce", "memory", "eval", "validation"),
    *("early_stopping", "save", "log"),
)
KEY = re.compile(rf"(?<![\w/.])(?:{'|'.join(SECTIONS)})\.[a-z0-9_.]*[a-z0-9]\b(?!/)")
FILES = (".py", ".yaml", ".json", ".md", ".safetensors", ".csv")


def test_documents_name_only_settings_that_exist():
    known = set(known_keys(Finetune))
    named = [(place, key) for place, line in lines() for key in KEY.findall(line) if not key.endswith(FILES)]
    assert named
    assert [f"{place}: {key}" for place, key in named if key not in known] == []
