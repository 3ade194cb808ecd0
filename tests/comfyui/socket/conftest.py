"""A small base model and an adapter for it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.comfyui.sampling import small_adapter
from withanyone_pack.tests.comfyui.small_flux import small_flux

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter


@pytest.fixture
def base() -> "ModelPatcher":
    return small_flux()


@pytest.fixture
def adapter(tmp_path: Path) -> "ComfyAdapter":
    return small_adapter(tmp_path)
