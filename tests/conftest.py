import pytest
import torch
from pack import ROOT, load_pack

load_pack()

# ComfyUI works on a CUDA device where there is one, and these tests' adapter with it.
ON_GPU = (ROOT / "tests" / "adapter", ROOT / "tests" / "comfyui" / "socket")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what can use a CUDA device, and leaves out what cannot do without where there is none."""
    for item in items:
        needs = item.get_closest_marker("needs_gpu")
        if needs or any(item.path.is_relative_to(folder) for folder in ON_GPU):
            item.add_marker(pytest.mark.gpu)
        if needs and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none here"))
