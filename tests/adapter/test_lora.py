import pytest
import torch
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import random_adapter
from withanyone_pack.withanyone_core.adapter.checkpoint import AdapterFileError, fingerprint, inspect_adapter, read_part
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.adapter.shape import Branch

TARGET = "ipa_arc.3.to_q"


@pytest.fixture
def file(tmp_path):
    return inspect_adapter(random_adapter(tmp_path / "adapter.safetensors"))


def factors(target=TARGET, out=128, entered=64, rank=4, **more):
    generator = torch.Generator().manual_seed(1)
    return {
        f"{target}.lora_A.weight": torch.randn(rank, entered, generator=generator),
        f"{target}.lora_B.weight": torch.randn(out, rank, generator=generator),
        **more,
    }


def saved(tmp_path, tensors):
    save_file(tensors, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors"


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (2.0, 0.5)])
def test_an_update_is_added_to_its_matrix_alone(tmp_path, file, alpha, scale):
    tensors = factors()
    if alpha is not None:
        tensors[f"{TARGET}.alpha"] = torch.tensor(alpha)
    lora = read_lora(saved(tmp_path, tensors), file, strength=0.7)
    plain, changed = read_part(file, Branch.ARC, "attention"), read_part(file, Branch.ARC, "attention", [lora])
    product = tensors[f"{TARGET}.lora_B.weight"] @ tensors[f"{TARGET}.lora_A.weight"]
    assert torch.allclose(changed["3.to_q.weight"], plain["3.to_q.weight"] + 0.7 * scale * product, atol=1e-5)
    assert all(torch.equal(changed[name], plain[name]) for name in plain if name != "3.to_q.weight")


def test_two_loras_add_up(tmp_path, file):
    path = saved(tmp_path, factors())
    half = [read_lora(path, file, 0.5)] * 2
    once = read_part(file, Branch.ARC, "attention", [read_lora(path, file, 1.0)])
    assert torch.allclose(
        read_part(file, Branch.ARC, "attention", half)["3.to_q.weight"], once["3.to_q.weight"], atol=1e-5
    )


def test_projectors_can_be_changed_too(tmp_path, file):
    lora = read_lora(saved(tmp_path, factors("arcface_in_sig.3", out=256, entered=256)), file)
    plain, changed = read_part(file, Branch.SIG, "encoder"), read_part(file, Branch.SIG, "encoder", [lora])
    assert not torch.equal(changed["arcface_in.3.weight"], plain["arcface_in.3.weight"])


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {"lora_unet_double_blocks_0.lora_down.weight": torch.zeros(4, 4)},
            r"not a LoRA of a WithAnyone adapter .*Load LoRA",
        ),
        ({}, r"not a LoRA of a WithAnyone adapter"),
        (factors("ipa_arc.9.to_q"), r"changes ipa_arc\.9\.to_q\.weight, which adapter\.safetensors does not have"),
        (factors(out=96), r"factors \[96, 4\] x \[4, 64\], which do not give the \[128, 64\] matrix"),
        ({f"{TARGET}.lora_A.weight": torch.zeros(4, 64)}, r"not complete: ipa_arc\.3\.to_q\.lora_B\.weight is missing"),
        (factors(stray=torch.zeros(1)), r"it holds stray"),
        (
            {**factors(), f"{TARGET}.alpha": torch.tensor(float("nan"))},
            r"NaN or infinite values in ipa_arc\.3\.to_q\.alpha",
        ),
        (
            {**factors(), f"{TARGET}.alpha": torch.tensor([1.0, 2.0])},
            r"expected matrices and single alphas stored .*ipa_arc\.3\.to_q\.alpha is F32 \[2\]",
        ),
        (
            {**factors(), f"{TARGET}.lora_A.weight": torch.tensor(1.0)},
            r"expected matrices and single alphas stored .*ipa_arc\.3\.to_q\.lora_A\.weight is F32 \[\]",
        ),
        (
            {**factors(), f"{TARGET}.lora_B.weight": torch.zeros(128, 4, dtype=torch.int8)},
            r"stored as F32, F16 or BF16, but ipa_arc\.3\.to_q\.lora_B\.weight is I8 \[128, 4\]",
        ),
        (factors(rank=0), r"expected matrices .*lora_A\.weight is F32 \[0, 64\]"),
        (
            {**factors(rank=1), f"{TARGET}.alpha": torch.tensor(3e38)},
            r"the alpha of ipa_arc\.3\.to_q, 3e\+38, is too large",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_with_a_readable_message(tmp_path, file, tensors, words):
    with pytest.raises(AdapterFileError, match=words):
        read_lora(saved(tmp_path, tensors), file)


def test_a_cut_off_or_foreign_file_is_refused(tmp_path, file):
    path = saved(tmp_path, factors())
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(AdapterFileError, match=r"not a whole safetensors file"):
        read_lora(path, file)
    with pytest.raises(AdapterFileError, match=r"\.safetensors files only"):
        read_lora(path.rename(tmp_path / "lora.pt"), file)
    with pytest.raises(FileNotFoundError, match=r"no adapter LoRA at"):
        read_lora(tmp_path / "gone.safetensors", file)


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(tmp_path, file, strength):
    with pytest.raises(ValueError, match=r"The strength of lora\.safetensors is (nan|inf); expected a number"):
        read_lora(saved(tmp_path, factors()), file, strength)


def test_a_sum_that_overflows_is_refused_by_its_key(tmp_path):
    half = inspect_adapter(random_adapter(tmp_path / "half.safetensors", dtype=torch.float16))
    lora = read_lora(saved(tmp_path, {name: 300.0 * factor.abs() for name, factor in factors().items()}), half)
    with pytest.raises(AdapterFileError, match=r"half\.safetensors: ipa_arc\.3\.to_q\.weight becomes NaN or infinite"):
        read_part(half, Branch.ARC, "attention", [lora])


def test_the_fingerprint_knows_weights_and_not_their_type(tmp_path, file):
    same = inspect_adapter(random_adapter(tmp_path / "b.safetensors", dtype=torch.bfloat16))
    other = inspect_adapter(random_adapter(tmp_path / "c.safetensors", seed=5))
    assert fingerprint(file) == fingerprint(same)
    assert len(fingerprint(file)) == 16
    assert fingerprint(file) != fingerprint(other)
