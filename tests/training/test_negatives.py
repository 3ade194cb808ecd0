"""The bank of negatives: false ones dropped, filled up, read and written."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from withanyone_pack.tests.training import coded_faces as coded

from training.cache.entries import FILLED, FOREIGN
from training.preparing.negatives import bank, read_bank


def test_false_negatives_are_dropped():
    own = np.stack([coded.embedding_of(1, 0), coded.embedding_of(2, 0)])
    foreign = 20 * np.stack(
        [coded.at_cosine(0.41), coded.at_cosine(0.39), coded.at_cosine(0.5, person=2), coded.direction(9)]
    ).astype(np.float32)
    found = bank(own, [0, 1], foreign, seed=0, least=0)
    assert (found.foreign, found.dropped, found.filled) == (2, 2, 0)
    assert np.array_equal(found.negatives.embeddings.numpy(), np.concatenate([own, foreign[[1, 3]]]))
    assert found.negatives.identities.tolist() == [0, 1, FOREIGN, FOREIGN]


def test_a_small_bank_is_filled_with_embeddings_of_the_same_kind():
    rng = np.random.default_rng(1)
    spread = np.zeros(512)
    spread[:40] = np.linspace(1, 4, 40)
    foreign = (rng.standard_normal((300, 512)) * spread + 0.5).astype(np.float32)
    own = np.stack([coded.embedding_of(1, 1), coded.embedding_of(2, 1)])
    found = bank(own, [0, 1], foreign, seed=3, least=4000)
    marks = found.negatives.identities.numpy()
    filled = found.negatives.embeddings.numpy()[marks == FILLED]
    assert (marks[:2].tolist(), found.foreign, found.filled) == ([0, 1], 300, 3700)
    assert filled.mean(axis=0) == pytest.approx(foreign.mean(axis=0), abs=0.3)
    assert filled.std(axis=0)[:40] == pytest.approx(foreign.std(axis=0)[:40], rel=0.1)
    assert filled.std(axis=0)[40:].max() < 1e-5
    assert "3700 random embeddings fill up the rest" in found.summary()
    again = bank(own, [0, 1], foreign, seed=3, least=4000)
    assert np.array_equal(again.negatives.embeddings, found.negatives.embeddings)


def test_without_foreign_faces_random_directions_fill_up():
    own = np.stack([coded.embedding_of(1, 1), coded.embedding_of(2, 1)])
    found = bank(own, [0, 1], np.zeros((0, 512), np.float32), seed=0)
    filled = found.negatives.embeddings.numpy()[2:]
    assert len(filled) == found.filled == 512
    lengths = np.linalg.norm(filled, axis=1)
    assert lengths.mean() == pytest.approx(20, rel=0.02)
    # Random directions in 512 dimensions: cosines spread by 1 / 22.6.
    assert (filled @ own[0] / lengths / 20).std() == pytest.approx(1 / 22.6, rel=0.15)


def test_a_bank_file(tmp_path):
    embeddings = np.random.default_rng(0).standard_normal((7, 512)).astype(np.float32)
    embeddings[3] = np.nan
    save_file({"vectors": embeddings}, tmp_path / "bank.safetensors")
    assert np.array_equal(read_bank(tmp_path / "bank.safetensors", 512), np.delete(embeddings, 3, axis=0))
    save_file({"vectors": embeddings[:, :128].copy()}, tmp_path / "short.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ValueError, match=r"holds vectors \[7, 128\]; expected `vectors` of shape \[number, 512\]"):
        read_bank(tmp_path / "short.safetensors", 512)
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_bank(tmp_path / "text.safetensors", 512)
    with pytest.raises(FileNotFoundError, match="There is no bank"):
        read_bank(tmp_path / "none.safetensors", 512)
