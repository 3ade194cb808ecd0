"""The pack's version, as pyproject.toml has it: ComfyUI runs the folder without installing it."""

VERSION = "0.1.0"
