import pytest
import torch
from pack import load_pack

load_pack()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu are left out where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none here"))
