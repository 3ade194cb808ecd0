"""An adapter works with the base model it was trained on."""

from dataclasses import replace

import pytest
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import ARC, random_adapter, random_tensors
from withanyone_pack.withanyone_core.adapter.base import METADATA_KEY, base_of, check_base
from withanyone_pack.withanyone_core.adapter.checkpoint import AdapterFile, AdapterFileError, inspect_adapter
from withanyone_pack.withanyone_core.adapter.shape import Branch
from withanyone_pack.withanyone_core.base_models.flux1 import FLUX_1
from withanyone_pack.withanyone_core.base_models.flux2 import FLUX_2


def trained_on(path, name) -> AdapterFile:
    save_file(random_tensors(), path, metadata={METADATA_KEY: name})
    return inspect_adapter(path)


def of_size(path, blocks, width) -> AdapterFile:
    """What the check needs of a file of gigabytes: a header without a word on base models, and the sizes."""
    return replace(
        inspect_adapter(random_adapter(path)), shapes={Branch.ARC: replace(ARC, hidden=width, layers=blocks)}
    )


@pytest.mark.parametrize("base", [FLUX_1, FLUX_2], ids=lambda base: base.name)
def test_the_header_says_which_base_model_it_is(tmp_path, base):
    assert base_of(trained_on(tmp_path / "a.safetensors", base.name)) is base


def test_without_a_word_the_size_says_it_where_it_is_a_published_one(tmp_path):
    assert base_of(of_size(tmp_path / "a.safetensors", 57, 3072)) is FLUX_1
    assert base_of(of_size(tmp_path / "b.safetensors", 25, 3072)) is FLUX_2
    assert base_of(inspect_adapter(random_adapter(tmp_path / "c.safetensors"))) is None


def test_a_base_model_of_later_is_refused(tmp_path):
    with pytest.raises(
        AdapterFileError, match=r"a\.safetensors needs a later version of this pack.*“flux\.9” is unknown"
    ):
        base_of(trained_on(tmp_path / "a.safetensors", "flux.9"))


def test_an_adapter_of_the_other_base_model_is_refused_though_its_size_fits(tmp_path):
    file = trained_on(tmp_path / "a.safetensors", "flux.2")
    check_base(file, FLUX_2, ARC.layers, ARC.hidden, "Flux2")
    with pytest.raises(ValueError, match=r"a\.safetensors was trained for FLUX\.2, and the connected Flux is FLUX\.1"):
        check_base(file, FLUX_1, ARC.layers, ARC.hidden, "Flux")


def test_an_adapter_of_another_size_says_what_it_is_for(tmp_path):
    klein = of_size(tmp_path / "a.safetensors", 25, 3072)
    with pytest.raises(ValueError, match=r"width 3072 with 25 blocks; .* 32 blocks\. Use FLUX\.2-klein-4B with it\."):
        check_base(klein, FLUX_2, 32, 4096, "Flux2")
