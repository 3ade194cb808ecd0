"""A run that is killed resumes where it stopped, and the cache is the same as without that."""

import signal
import subprocess
import sys
import time

from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training import coded_faces as coded
from withanyone_pack.tests.training.caches import same

from training.cache import files, shards
from training.cache.files import read_cache
from training.preparing.preparing import prepare

PATIENCE_S = 120


def killed(data, cache, latents, signal_number=signal.SIGKILL):
    """Starts a slow run and kills it once `latents` latents are on disk."""
    program = [sys.executable, ROOT / "tests/training/slow_prepare.py", data, cache, "0.05"]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        names = shards.Shards(cache / files.SHARDS)
        if sum(name.endswith(".logvar") for name in names) >= latents:
            process.send_signal(signal_number)
            break
        time.sleep(0.02)
    assert process.wait(PATIENCE_S) == -signal_number
    return names


def test_a_killed_run_goes_on(tmp_path):
    data = coded.two_people(tmp_path / "data")
    kept = killed(data, tmp_path / "cache", latents=6)
    assert not (tmp_path / "cache/cache.json").exists()
    models = coded.models()
    prepare(coded.settings(data, tmp_path / "cache"), lambda: models)
    assert models.faces.asked == 0
    whole = coded.models()
    prepare(coded.settings(data, tmp_path / "whole"), lambda: whole)
    done = sum(name.endswith(".logvar") for name in kept)
    assert 0 < models.image.asked <= whole.image.asked - done
    same(tmp_path / "cache", tmp_path / "whole")


def test_a_run_killed_while_it_brings_a_cache_up_to_date_leaves_the_old_one(tmp_path):
    data = coded.two_people(tmp_path / "data")
    prepare(coded.settings(data, tmp_path / "cache"), coded.models)
    before = (tmp_path / "cache/cache.json").read_bytes()
    names = [image.name for image in read_cache(tmp_path / "cache").images]
    for number in range(10, 16):
        coded.save(data / f"identities/alice/{number}.png", coded.photo((1, number), seed=number))
    whole = sum(name.endswith(".logvar") for name in shards.Shards(tmp_path / "cache/shards"))
    killed(data, tmp_path / "cache", latents=whole + 4)
    (tmp_path / "cache/shards/half.safetensors.1.partial").write_bytes(b"half")
    assert (tmp_path / "cache/cache.json").read_bytes() == before
    read = read_cache(tmp_path / "cache")
    assert [image.name for image in read.images] == names
    assert read.latent(read.images[0], 0)[0].shape[0] == 16
    prepare(coded.settings(data, tmp_path / "cache"), coded.models)
    assert len(read_cache(tmp_path / "cache").images) == len(names) + 6
    assert not list(tmp_path.rglob("*.partial"))
