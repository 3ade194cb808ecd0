"""Settings back to YAML, and settings to share, without paths."""

from typing import Any

import yaml

from .reading import Section


def settings_text(settings: Section) -> str:
    """The settings with every default filled in; `read_settings` reads the same back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def without_paths(value: Any) -> Any:
    """Settings with file names in place of paths: a shared file tells nothing of the machine."""
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return value.replace("\\", "/").rsplit("/", 1)[-1]
    return value
