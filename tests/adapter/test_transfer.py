"""An adapter's weights start one for another base model of the same width."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG, random_adapter
from withanyone_pack.withanyone_core.adapter.checkpoint import AdapterFileError, expected_keys, inspect_adapter
from withanyone_pack.withanyone_core.adapter.transfer import layer_map, transferred
from withanyone_pack.withanyone_core.base_models.base_model import Size
from withanyone_pack.withanyone_core.base_models.flux1 import FLUX_1
from withanyone_pack.withanyone_core.base_models.flux2 import FLUX_2

SOURCE, TARGET = Size(2, 3, ARC.hidden), Size(1, 2, ARC.hidden)


def test_layers_of_each_kind_are_evenly_spaced_from_the_first_to_the_last():
    assert layer_map(SOURCE, SOURCE) == (0, 1, 2, 3, 4)
    assert layer_map(SOURCE, TARGET) == (0, 2, 4)
    assert layer_map(TARGET, Size(3, 5, 64)) == (0, 0, 0, 1, 1, 1, 2, 2)


def test_flux_1_to_klein():
    found = layer_map(FLUX_1.sizes["FLUX.1-dev"], FLUX_2.sizes["FLUX.2-klein-4B"])
    assert found[:5] == (0, 4, 9, 14, 18)
    assert (len(found), found[5], found[-1]) == (25, 19, 56)
    assert list(found) == sorted(set(found))


@pytest.mark.parametrize("layout", ["dual", "single"])
def test_every_layer_is_that_of_the_map_and_projectors_stay(tmp_path, layout):
    shapes = (ARC, SIG) if layout == "dual" else (SIG,)
    path = random_adapter(tmp_path / "a.safetensors", shapes=shapes, layout=layout)
    before, after = load_file(path), transferred(inspect_adapter(path), SOURCE, TARGET)
    smaller = [replace(shape, layers=3) for shape in shapes]
    assert {key: tuple(value.shape) for key, value in after.items()} == {
        key: size for shape in smaller for key, size in expected_keys(shape, layout).items()
    }
    prefix = "ipa_sig" if layout == "dual" else "ipa"
    for new, old in enumerate((0, 2, 4)):
        assert torch.equal(after[f"{prefix}.{new}.to_kv.weight"], before[f"{prefix}.{old}.to_kv.weight"])
    projectors = [key for key in before if not key.startswith("ipa")]
    assert projectors
    assert all(torch.equal(after[key], before[key]) for key in projectors)


def test_other_widths_and_other_sizes_than_the_files_are_refused(tmp_path):
    file = inspect_adapter(random_adapter(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match=r"a\.safetensors is for a stream of width 64 .* has 128; only equal widths"):
        transferred(file, SOURCE, Size(1, 2, 128))
    with pytest.raises(AdapterFileError, match=r"for 5 blocks of width 64, and the base model .* has 6 of width 64"):
        transferred(file, Size(2, 4, 64), TARGET)
