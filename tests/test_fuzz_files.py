"""Ten thousand damaged files: 5,000 adapters, 2,000 adapter LoRAs, 3,000 identities, each in this process.

Every one ends in an error of ours that says so readably, or in numbers that are right:

* identity files carry a checksum, so whatever is read is what was saved, bitwise;
* adapter and LoRA files of the released kind carry none. A bit flipped inside a tensor that leaves the number finite,
  or a header that was changed into another sound header of the same shapes, is then just another adapter: nothing in
  the file can tell. What is checked instead is that the tensors are those a second, independent reader of the format
  finds under the same names in the damaged file, finite and of the shapes that were promised.

Never another exception, and no mutation may take long or much memory.
"""

import json
import resource
import signal
import struct
from contextlib import contextmanager
from random import Random

import pytest
import torch
from safetensors.torch import save
from withanyone_pack.tests.adapter.random_adapter import random_tensors
from withanyone_pack.withanyone_core.adapter.checkpoint import (
    AdapterFileError,
    expected_keys,
    fingerprint,
    inspect_adapter,
    read_part,
)
from withanyone_pack.withanyone_core.adapter.lora import read_lora
from withanyone_pack.withanyone_core.adapter.shape import BranchShape
from withanyone_pack.withanyone_core.identities.identity_file import (
    IdentityFileError,
    inspect_identity,
    load_identity,
    save_identity,
)
from withanyone_pack.withanyone_core.identity import Identity, LearnedTokens

LONGEST_SECONDS = 20  # a mutation takes milliseconds; the rest is for a machine that is busy with something else
LARGEST_GROWTH = 300 * 2**20  # bytes of memory over one test
ARC = BranchShape(hidden=8, heads=1, layers=2, arc_tokens=2, embedding=6)
SIG = BranchShape(hidden=8, heads=1, layers=2, arc_tokens=2, embedding=6, siglip_width=4)
PARTS = ("encoder", "attention")
TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES = [
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I8",
    "U8",
    "BOOL",
    "C64",
    "F8_E4M3",
    "F8_E8M0",
    "F4",
    "F6_E2M3",
    "f32",
    "",
]
NAMES = [
    *("", "x", "\x00", "\u0661", "ipa.", "ipa_arc.0", "__metadata__", "learnable_query", "crop", "arcface"),
    *("siglip_in.0.weight", "ipa.0.to_out.weight", "double_blocks.0.img_attn.qkv.weight", "learned.arc"),
    *(f"ipa_arc.{number}.to_q.weight" for number in ("-1", "00", "1e3", "9" * 9, "9" * 30, "9" * 5000)),
    *(f"ipa.{number}.norm2.bias" for number in ("9999", "9" * 9, "9" * 5000)),
    *("ipa_arc.0.to_q.lora_A.weight", "ipa_arc.9.to_q.alpha", "ipa_sig.0.to_q.lora_B.weight"),
]
SIZES = [0, 1, 2, 3, 7, 8, 64, 512, 10**6, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**40, -1, 1.5, None, "8", [8]]
LENGTHS = [0, 1, 2, 7, 100, 2**20, 100_000_000, 100_000_001, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1]


# Damage to the bytes


def flip_in_header(content, dice):
    place = 8 + dice.randrange(header_size(content))
    content[place] ^= 1 << dice.randrange(8)


def flip_in_data(content, dice):
    content[dice.randrange(8 + header_size(content), len(content))] ^= 1 << dice.randrange(8)


def change_bytes(content, dice):
    place = dice.randrange(8 + header_size(content) if dice.random() < 0.7 else len(content))
    content[place : place + dice.randrange(5)] = dice.randbytes(dice.randrange(5))


def cut(content, dice):
    del content[dice.choice([dice.randrange(len(content)), dice.randrange(20), len(content) - 1]) :]


def lengthen(content, dice):
    content.extend(dice.choice([b"\0", bytes(4), b"{}", bytes(1000), bytes(content[:100])]))


def change_length(content, dice):
    size = header_size(content)
    content[:8] = struct.pack("<Q", dice.choice([*LENGTHS, size - 1, size + 1, size + 8, dice.randrange(2 * size)]))


def random_bytes(content, dice):
    content[:] = dice.randbytes(dice.choice([1, 7, 8, 9, 100, 5000]))
    if dice.random() < 0.5:  # a believable length, so that what follows is looked at
        content[:8] = struct.pack("<Q", max(len(content) - 8, 0) // 2)


def only_header(content, dice):
    header = dice.choice([b"", b"{}", b"[]", b"null", b"{", b"\xff\xfe", b'{"a":' * 5000, b"[" * 100_000, b'{"a":{}}'])
    content[:] = dice.choice([b"", struct.pack("<Q", len(header)) + header])


# Damage to the header's meaning


def swap_offsets(entries, dice):
    (_, one), (_, other) = dice.choices(tensors_of(entries), k=2)
    one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]


def swap_names(entries, dice):
    one, other = (entries.index(entry) for entry in dice.choices(tensors_of(entries), k=2))
    (first, *_), (second, *_) = entries[one], entries[other]
    entries[one], entries[other] = (second, entries[one][1]), (first, entries[other][1])


def move_offsets(entries, dice):
    offsets = dice.choice(tensors_of(entries))[1]["data_offsets"]
    offsets[dice.randrange(2)] = dice.choice([*SIZES, offsets[0] + 1, offsets[1] - 1, offsets[1] + 4])


def rename(entries, dice):
    name, entry = dice.choice(tensors_of(entries))
    entries[entries.index((name, entry))] = (dice.choice([*NAMES, name[:-1], name + "x", name.upper()]), entry)


def double(entries, dice):
    name, entry = dice.choice(entries)
    other = dice.choice([entry, dice.choice(entries)[1]])
    entries.insert(dice.randrange(len(entries) + 1), (name, other))


def drop(entries, dice):
    entries.remove(dice.choice(entries))


def retype(entries, dice):
    dice.choice(tensors_of(entries))[1]["dtype"] = dice.choice(DTYPES)


def reshape(entries, dice):
    entry = dice.choice(tensors_of(entries))[1]
    shape = entry["shape"]
    empty = [0, dice.choice([2**31, 2**62, 2**63 - 1])]
    entry["shape"] = dice.choice([shape[::-1], [], [1, *shape], [*shape, 1], [0], empty, shape[:-1], None, {}])
    if dice.random() < 0.4 and shape:
        entry["shape"] = [*shape[:-1], dice.choice(SIZES)]


def empty_tensor(entries, dice):
    """A tensor of no bytes is sound in the format, whatever its other sizes and its name."""
    shape = dice.choice([[0], [0, 2**40], [0, 2**63 - 1], [2**31, 0, 2**31], [0] * 30])
    names = [*NAMES, *(name for name, _ in entries)]
    place = dice.choice(tensors_of(entries))[1]["data_offsets"][1]
    added = {"dtype": dice.choice(DTYPES[:13]), "shape": shape, "data_offsets": [place, place]}
    name = dice.choice(names)
    entries[:] = [*(entry for entry in entries if entry[0] != name), (name, added)]


def scalar_tensor(entries, dice):
    """One name of the file becomes a single number: sound, and not what anything of that name should be."""
    _, old = dice.choice(tensors_of(entries))
    start, end = old["data_offsets"]
    width = 4 if old["dtype"] == "F32" else 2
    old["shape"], old["data_offsets"] = [], [start, start + width]
    if end > start + width:
        rest = {"dtype": "U8", "shape": [end - start - width], "data_offsets": [start + width, end]}
        entries.append((dice.choice(["learnable_query", "siglip_in_arc.0.weight", "siglip_in.9.weight", "x"]), rest))


def change_metadata(entries, dice):
    known = next((entry for name, entry in entries if name == "__metadata__"), {})
    changed = dict(known)
    key = dice.choice(["format", "name", "sha256", "adapter", "made_from", "x", ""])
    changed[key] = dice.choice(["", "x", "withanyone-identity/2", "\ud800", "\x00", "9" * 10_000, 5, None, {}, []])
    entries[:] = [entry for entry in entries if entry[0] != "__metadata__"]
    if dice.random() < 0.9:
        entries.insert(0, ("__metadata__", changed))


STILL_WELL_FORMED = (swap_names, rename, drop, empty_tensor, change_metadata)
BYTES = (flip_in_header, flip_in_data, change_bytes, cut, lengthen, change_length, random_bytes, only_header)
MEANING = (
    *(swap_offsets, swap_names, move_offsets, rename, double, drop, retype, reshape),
    *(empty_tensor, scalar_tensor, change_metadata),
)
DAMAGE = (*BYTES, *MEANING)


def damaged(whole, number):
    """The file with one kind of damage, in every fifth file with two; the number alone says which."""
    dice, content = Random(number), bytearray(whole)
    kinds = [DAMAGE[number % len(DAMAGE)]]
    if number % 5 == 0:
        kinds.insert(0, dice.choice(STILL_WELL_FORMED))
    for kind in kinds:
        if kind in BYTES:
            kind(content, dice)
        else:
            entries = json.loads(content[8 : 8 + header_size(content)], object_pairs_hook=list)
            entries = [(name, dict(entry)) for name, entry in entries]
            kind(entries, dice)
            header = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(entry)}" for name, entry in entries) + "}"
            header = header.encode().ljust(-(-len(header) // 8) * 8)
            content[:] = struct.pack("<Q", len(header)) + header + content[8 + header_size(content) :]
    return bytes(content)


def header_size(content):
    return struct.unpack("<Q", content[:8])[0]


def tensors_of(entries):
    return [entry for entry in entries if entry[0] != "__metadata__"]


def reference(content):
    """The tensors of a safetensors file by the letter of the format, in the types that adapters may have."""
    size = header_size(content)
    data, tensors = content[8 + size :], {}
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] in TORCH:
            start, end = entry["data_offsets"]
            raw = bytearray(data[start:end])
            flat = torch.frombuffer(raw, dtype=TORCH[entry["dtype"]]) if raw else torch.empty(0)
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


@contextmanager
def within_limits(number):
    """Fails where one mutation hangs; the numbers of `damaged` make it again."""

    def late(*_):
        pytest.fail(f"mutation {number} took longer than {LONGEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def survive(samples, path, count, error, read):
    """Reads `count` damaged files; `read` checks what it gets. Returns how many ended in each way."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for number in range(count):
        content = damaged(samples[number // len(DAMAGE) % len(samples)], number)
        path.write_bytes(content)
        with within_limits(number):
            try:
                read(path, content)
            except error as refusal:
                refused += 1
                assert ".safetensors" in str(refusal)  # noqa: PT017 - most files are refused, some are sound
            except Exception as leaked:
                leaked.add_note(f"mutation {number}, {DAMAGE[number % len(DAMAGE)].__name__}")
                raise
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < LARGEST_GROWTH
    return refused, count - refused


def test_adapters(tmp_path):
    def read(path, content):
        file = inspect_adapter(path)
        stored = reference(content)
        parts = {(branch, part): read_part(file, branch, part) for branch in file.shapes for part in PARTS}
        assert len(fingerprint(file)) == 16
        expected = {}
        for shape in file.shapes.values():
            expected |= expected_keys(shape, file.layout)
        got = [tensor for part in parts.values() for tensor in part.values()]
        for shape_of_key, tensor, key in zip(expected.values(), got, expected, strict=True):
            assert tuple(tensor.shape) == shape_of_key
            assert tensor.isfinite().all()
            assert torch.equal(tensor, stored[key])

    pooled = {"siglip_in.0.weight": torch.zeros(32, 4), "learnable_query": torch.zeros(1, 2)}
    samples = [
        save(random_tensors((ARC, SIG))),
        save(random_tensors((ARC,), "single", dtype=torch.float16) | pooled),
        save(random_tensors((SIG,), "single", dtype=torch.bfloat16)),
    ]
    refused, accepted = survive(samples, tmp_path / "adapter.safetensors", 5000, AdapterFileError, read)
    assert refused > 3000
    assert accepted > 300  # else the mutations were too coarse to try what is read


def test_adapter_loras(tmp_path):
    whole = random_tensors((ARC, SIG))
    (tmp_path / "adapter.safetensors").write_bytes(save(whole))
    file = inspect_adapter(tmp_path / "adapter.safetensors")

    def read(path, content):
        lora = read_lora(path, file)
        stored = reference(content)
        for key, update in lora.updates.items():
            down, up = (stored[key.replace(".weight", f".lora_{side}.weight")] for side in "AB")
            alpha = stored.get(key.replace(".weight", ".alpha"), torch.tensor(float(len(down))))
            assert torch.equal(update.down, down)
            assert torch.allclose(update.up, up.float() * (alpha.float() / len(down)))
            assert update.up.isfinite().all()
        for branch in file.shapes:
            for part in PARTS:
                tensors = read_part(file, branch, part, [lora])
                assert all(tensor.isfinite().all() for tensor in tensors.values())

    numbers = torch.Generator().manual_seed(0)
    factors = {}
    for target, rank in (("ipa_arc.0.to_q", 2), ("ipa_sig.1.to_kv", 3), ("arcface_in_sig.3", 1)):
        left, entered = whole[f"{target}.weight"].shape
        factors[f"{target}.lora_A.weight"] = torch.randn(rank, entered, generator=numbers)
        factors[f"{target}.lora_B.weight"] = torch.randn(left, rank, generator=numbers)
    factors["ipa_arc.0.to_q.alpha"] = torch.tensor(4.0)
    samples = [save(factors), save({name: tensor.bfloat16() for name, tensor in factors.items()})]
    refused, accepted = survive(samples, tmp_path / "lora.safetensors", 2000, AdapterFileError, read)
    assert refused > 1000
    assert accepted > 100


def test_identities(tmp_path):
    numbers = torch.Generator().manual_seed(1)
    crop = torch.randint(0, 256, (512, 512, 3), generator=numbers) / 255.0
    arcface, siglip = torch.randn(512, generator=numbers), torch.randn(4, 8, generator=numbers)
    saved = [
        Identity("Ann", arcface, None, crop),
        Identity("Bö", arcface, siglip, crop, "pack", "1 photo", arcface[None], LearnedTokens("f0", siglip, siglip)),
    ]
    samples = []
    for number, identity in enumerate(saved):
        save_identity(identity, tmp_path / f"{number}.safetensors")
        samples.append((tmp_path / f"{number}.safetensors").read_bytes())

    def read(path, content):
        inspect_identity(path)
        loaded = load_identity(path)
        assert any(is_same(loaded, identity) for identity in saved)

    refused, accepted = survive(samples, tmp_path / "ann.safetensors", 3000, IdentityFileError, read)
    assert refused > 2000
    assert accepted > 10  # damage that changes nothing, such as a key written twice


def is_same(one, other):
    words = ("name", "face_model", "made_from")
    tensors = ("arcface", "siglip", "crop", "embeddings")
    learned = [(who.learned or LearnedTokens("")) for who in (one, other)]
    pairs = [(getattr(one, name), getattr(other, name)) for name in tensors]
    pairs += [(getattr(learned[0], name), getattr(learned[1], name)) for name in ("arc", "sig")]
    return (
        all(getattr(one, name) == getattr(other, name) for name in words)
        and learned[0].adapter == learned[1].adapter
        and all((a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)
    )
