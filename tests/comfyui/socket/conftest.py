"""Small base models, one of each family, and an adapter that fits them all."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.comfyui.sampling import small_adapter
from withanyone_pack.tests.comfyui.small_flux import SMALL_BASES

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from withanyone_pack.withanyone_core.injection.comfyui.parts import ComfyAdapter


@pytest.fixture(params=SMALL_BASES)
def base(request: pytest.FixtureRequest) -> "ModelPatcher":
    return SMALL_BASES[request.param]()


@pytest.fixture
def adapter(tmp_path: Path) -> "ComfyAdapter":
    return small_adapter(tmp_path)
