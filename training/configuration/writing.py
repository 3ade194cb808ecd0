"""Settings back to YAML."""

import yaml

from .reading import Section


def settings_text(settings: Section) -> str:
    """The settings with every default filled in; `read_settings` reads the same back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
