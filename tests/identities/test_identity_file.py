import json
import pickle
import random

import pytest
import tomllib
import torch
from safetensors.torch import load_file, save_file
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.identities.identity_file import (
    FORMAT,
    IdentityFileError,
    inspect_identity,
    load_identity,
    save_identity,
)
from withanyone_pack.withanyone_core.identities.merging import merge
from withanyone_pack.withanyone_core.identity import Identity, LearnedTokens
from withanyone_pack.withanyone_core.version import VERSION

MUTATIONS = 400


def person(name="Ann", seed=0, **changes):
    numbers = torch.Generator().manual_seed(seed)
    given = {
        "arcface": torch.randn(512, generator=numbers) * 20,
        "siglip": torch.randn(256, 768, generator=numbers),
        "crop": torch.randint(0, 256, (512, 512, 3), generator=numbers) / 255.0,
        "face_model": "antelopev2/glintr100.onnx",
        "made_from": "2 photos, face by best score, combined by mean",
        "embeddings": torch.randn(2, 512, generator=numbers),
    }
    return Identity(name, **{**given, **changes})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ann.safetensors"
    save_identity(person(siglip=torch.randn(4, 8)), path)
    return path


def rewritten(path, metadata=None, drop=(), **tensors):
    """The file with other tensors or metadata, its checksum left as it was."""
    header = path.read_bytes()
    size = int.from_bytes(header[:8], "little")
    kept = json.loads(header[8 : 8 + size])["__metadata__"] | (metadata or {})
    save_file({name: t for name, t in (load_file(path) | tensors).items() if name not in drop}, path, kept)
    return path


def same(one, two):
    return (one is None and two is None) or torch.equal(one, two)


@pytest.mark.parametrize(
    "learned",
    [
        None,
        LearnedTokens("f00d", torch.randn(3, 16), None, "withanyone.safetensors", "c0ffee"),
        LearnedTokens("1", None, torch.ones(1, 4)),
        LearnedTokens("2", torch.randn(3, 16).half(), torch.randn(9, 16).bfloat16()),
    ],
)
@pytest.mark.parametrize("siglip", [None, torch.randn(256, 768)])
def test_everything_comes_back_bit_for_bit(tmp_path, siglip, learned):
    saved = person("Änn “Ö”\n李", siglip=siglip, learned=learned)
    save_identity(saved, tmp_path / "deep/er/ann.safetensors")
    loaded = load_identity(tmp_path / "deep/er/ann.safetensors")
    assert (loaded.name, loaded.face_model, loaded.made_from) == (saved.name, saved.face_model, saved.made_from)
    for field in ("arcface", "siglip", "crop", "embeddings"):
        assert same(getattr(loaded, field), getattr(saved, field)), field
    assert (loaded.learned is None) == (learned is None)
    if learned is not None:
        for field in ("adapter", "adapter_name", "recognizer"):
            assert getattr(loaded.learned, field) == getattr(learned, field), field
        for branch in ("arc", "sig"):
            one, two = getattr(loaded.learned, branch), getattr(learned, branch)
            assert same(one, two)
            assert one is None or one.dtype == two.dtype


def test_tokens_of_both_branches_of_the_released_adapter_take_at_most_4_mb(tmp_path):
    learned = LearnedTokens("f00d", torch.randn(8, 3072).half(), torch.randn(264, 3072).half())
    save_identity(person(embeddings=torch.randn(50, 512), learned=learned), tmp_path / "ann.safetensors")
    assert (tmp_path / "ann.safetensors").stat().st_size <= 4e6


def test_an_identity_of_the_first_version_of_the_pack_is_saved_too(tmp_path):
    whole = person()
    save_identity(Identity("Ann", whole.arcface, whole.siglip, whole.crop), tmp_path / "ann.safetensors")
    loaded = load_identity(tmp_path / "ann.safetensors")
    assert loaded.embeddings is None
    assert loaded.face_model == loaded.made_from == ""


def test_a_crop_between_two_levels_goes_to_the_nearer_one(tmp_path):
    crop = torch.full((512, 512, 3), 100.7 / 255)
    save_identity(person(crop=crop), tmp_path / "ann.safetensors")
    assert torch.equal(load_identity(tmp_path / "ann.safetensors").crop, torch.full((512, 512, 3), 101.0) / 255)


def test_the_header_says_what_the_file_is(file):
    said = inspect_identity(file)
    assert (said.name, said.face_model) == ("Ann", "antelopev2/glintr100.onnx")
    assert said.made_from.startswith("2 photos")
    assert said.shapes == {"arcface": (512,), "arcface_all": (2, 512), "siglip": (4, 8), "crop": (512, 512, 3)}
    assert said.software == f"withanyone {VERSION}"
    assert said.created.startswith("20")
    assert said.created.endswith("+00:00")
    assert said.adapter == ""


def test_the_version_is_that_of_the_project():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_nothing_is_overwritten_and_no_part_is_left(file):
    before = file.read_bytes()
    with pytest.raises(
        FileExistsError, match=r"ann.safetensors is already there, and identities are never overwritten"
    ):
        save_identity(person("Ben"), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("name", ["a" * 300, "李" * 100])
def test_a_name_that_no_disk_can_take_is_refused_with_a_message(tmp_path, name):
    with pytest.raises(IdentityFileError, match=r"has (312|112) letters, more than a disk can take. Choose a shorter"):
        save_identity(person(), tmp_path / f"{name}.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_identity(person(), tmp_path / "ann.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arcface": torch.full((512,), float("nan"))}, "arcface holds NaN or infinite values"),
        ({"arcface": torch.zeros(512)}, "arcface is all zeros"),
        ({"arcface": torch.ones(192)}, r"arcface has shape \[192\], expected \[512\]"),
        ({"siglip": torch.full((4, 8), float("inf"))}, "siglip holds NaN or infinite values"),
        ({"siglip": torch.ones(1, 4, 8)}, r"siglip has shape \[1, 4, 8\], expected \[n, n\]"),
        ({"crop": torch.ones(64, 64, 3)}, r"crop has shape \[64, 64, 3\], expected \[512, 512, 3\]"),
        ({"crop": torch.full((512, 512, 3), float("nan"))}, "The crop of Ann holds NaN or infinite values"),
        ({"embeddings": torch.ones(2, 8)}, r"arcface_all has shape \[2, 8\], expected \[n, 512\]"),
        ({"learned": LearnedTokens("f", torch.full((1, 2), float("nan")))}, "learned.arc holds NaN"),
    ],
)
def test_what_no_identity_may_hold_is_not_saved(tmp_path, changes, words):
    with pytest.raises(IdentityFileError, match=words):
        save_identity(person(**changes), tmp_path / "ann.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arcface": torch.ones(192)}, r"ann.safetensors is not a complete identity; arcface has shape \[192\]"),
        ({"crop": torch.ones(512, 512, 3)}, "crop is F32, expected U8"),
        ({"siglip": torch.ones(4, 8, dtype=torch.int64)}, "siglip is I64, expected F32 or F16 or BF16"),
        ({"siglip": torch.ones(0, 8)}, r"siglip has shape \[0, 8\]"),
        ({"extra": torch.ones(1)}, "unknown: extra"),
        ({"drop": ("crop",)}, "missing: crop"),
        ({"metadata": {"format": "withanyone-identity/2"}}, "in the form withanyone-identity/2; this version reads"),
        ({"metadata": {"format": "something"}}, rf"its header does not say {FORMAT} \(it holds arcface, arcface_all"),
        ({"metadata": {"name": "Eve"}}, "is damaged: its numbers or its description are not those that were saved"),
        ({"arcface": torch.ones(512)}, "is damaged: its numbers or its description"),
    ],
)
def test_a_changed_file_is_refused_with_a_message(file, change, words):
    with pytest.raises(IdentityFileError, match=words):
        load_identity(rewritten(file, **change))


def test_nan_is_found_even_under_a_right_checksum(tmp_path, monkeypatch):
    checked = "withanyone_pack.withanyone_core.identities.identity_file._check_values"
    with monkeypatch.context() as unchecked:
        unchecked.setattr(checked, lambda *_: None)
        save_identity(person(siglip=torch.full((4, 8), float("nan"))), tmp_path / "ann.safetensors")
    with pytest.raises(IdentityFileError, match=r"ann.safetensors cannot be used: siglip holds NaN"):
        load_identity(tmp_path / "ann.safetensors")


def test_other_files_are_named_for_what_they_are(tmp_path, file):
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(IdentityFileError, match=r"empty.safetensors is not a safetensors file \(empty file\)"):
        load_identity(tmp_path / "empty.safetensors")
    with pytest.raises(FileNotFoundError, match="There is no identity file at"):
        load_identity(tmp_path / "none.safetensors")
    (tmp_path / "ann.pt").write_bytes(file.read_bytes())
    with pytest.raises(IdentityFileError, match=r"ann.pt: identities are read from .safetensors files only"):
        load_identity(tmp_path / "ann.pt")
    disguised = tmp_path / "disguised.safetensors"
    disguised.write_bytes(pickle.dumps({"arcface": [1.0]}))
    with pytest.raises(IdentityFileError, match=r"not a safetensors file \(pickle \(not opened\)\). It can run code"):
        load_identity(disguised)
    torch.save({"arcface": torch.ones(512)}, disguised)
    with pytest.raises(IdentityFileError, match=r"not a safetensors file \(pickle \(not opened\)\). It can run code"):
        load_identity(disguised)
    save_file({"ipa_arc.0.to_q.weight": torch.ones(1)}, tmp_path / "adapter.safetensors")
    with pytest.raises(
        IdentityFileError, match=r"is a WithAnyone adapter, not an identity. It belongs into models/with"
    ):
        load_identity(tmp_path / "adapter.safetensors")
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors", {"format": FORMAT})
    with pytest.raises(IdentityFileError, match="carries no checksum"):
        load_identity(tmp_path / "x.safetensors")
    with (tmp_path / "huge.safetensors").open("wb") as huge:
        huge.truncate(300 * 2**20)
    with pytest.raises(IdentityFileError, match="has 300 MB; an identity has about 2"):
        load_identity(tmp_path / "huge.safetensors")


@pytest.mark.parametrize("kept", [5, 100, -1])
def test_a_cut_off_file_is_refused(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(IdentityFileError, match="is not a whole safetensors file"):
        load_identity(file)


def test_damage_is_an_error_or_harmless(file):
    """Bits flipped, bytes changed, removed and added, half of the time in the header."""
    sound, whole = load_identity(file), file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    dice = random.Random(3)
    for number in range(MUTATIONS):
        content = bytearray(whole)
        place = dice.randrange(header if number % 2 else len(content))
        if number % 4 < 2:
            content[place] ^= 1 << dice.randrange(8)
        else:
            content[place : place + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
        file.write_bytes(content)
        try:
            loaded = load_identity(file)
        except IdentityFileError:
            continue
        assert loaded.name == sound.name
        assert all(same(getattr(loaded, key), getattr(sound, key)) for key in ("arcface", "siglip", "crop"))


def test_the_file_can_be_removed_while_its_identity_is_in_use(file):
    identity = load_identity(file)
    file.unlink()
    assert identity.arcface.isfinite().all()


def direction(embedding):
    return embedding / embedding.norm()


def test_merging_meets_between_the_two():
    one, two = person("Ann", 1), person("Ben", 2)
    third = merge(one, two, 0.25)
    between = direction(0.75 * direction(one.arcface) + 0.25 * direction(two.arcface))
    assert torch.allclose(direction(third.arcface), between, atol=1e-6)
    assert float(third.arcface.norm()) == pytest.approx(float(0.75 * one.arcface.norm() + 0.25 * two.arcface.norm()))
    assert third.name == "Ann"
    assert third.siglip is one.siglip
    assert third.crop is one.crop
    assert third.embeddings.shape == (4, 512)
    assert third.made_from.startswith("75% Ann (2 photos")
    assert merge(one, two, 0.25, " Cleo ").name == "Cleo"


def test_the_ends_of_a_merge_are_the_two_people(caplog):
    one = person("Ann", 1, learned=LearnedTokens("f", torch.ones(1, 2)))
    two = person("Ben", 2)
    assert merge(one, two, 0.0).arcface is one.arcface
    assert merge(one, two, 0.0).learned is one.learned
    assert not caplog.records
    assert torch.allclose(merge(one, two, 1.0).arcface, two.arcface, atol=1e-4)
    assert merge(one, two, 1.0).learned is None
    assert "learned tokens belong to one person and are left out" in caplog.text


def test_merging_refuses_what_cannot_be_mixed():
    with pytest.raises(ValueError, match=r"The weight of Ben is 1.5; expected 0 \(Ann only\) to 1"):
        merge(person(), person("Ben"), 1.5)
    words = (
        "of Ann was made by antelopev2/glintr100.onnx, that of Ben by buffalo_l/w600k_r50.onnx; such embeddings cannot"
    )
    with pytest.raises(ValueError, match=words):
        merge(person(), person("Ben", face_model="buffalo_l/w600k_r50.onnx"), 0.5)
    assert merge(person(), person("Ben", face_model=""), 0.5).face_model == "antelopev2/glintr100.onnx"
