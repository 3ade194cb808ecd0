"""A cache prepared by stand-in models."""

from withanyone_pack.tests.training import coded_faces as coded

from training.preparing.preparing import prepare


def prepared(tmp_path, models=None, **changes):
    models = models or coded.models()
    return prepare(coded.settings(tmp_path / "data", tmp_path / "cache", **changes), lambda: models)
