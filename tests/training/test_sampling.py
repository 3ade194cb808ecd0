"""What is drawn for a step, and that it depends on seed, step and sample alone."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_trainer import settings_of

from training.base.flux1 import LatentScale
from training.configuration.finetune import DataSettings
from training.configuration.learning import NoiseSettings
from training.loop.batch import ConditioningSpec, make_batch
from training.loop.draws import Draws
from training.loop.sampling import Sampler, Source

SETTINGS = DataSettings(cache="/nowhere")


def drawn(sampler, steps, settings=SETTINGS, count=2, seed=0):
    return [sampler.micro_batch(settings, seed, step, 0, count) for step in range(steps)]


def faces(batches):
    return [
        (sample.image, sample.captioned, *((p.face, p.reference, p.flipped, p.shown) for p in sample.people))
        for samples in batches
        for sample in samples
    ]


def test_a_draw_depends_on_seed_step_sample_and_purpose():
    draw = Draws(1, 2, 3).normal("noise", (4,))
    assert torch.equal(draw, Draws(1, 2, 3).normal("noise", (4,)))
    for other in (Draws(0, 2, 3), Draws(1, 3, 3), Draws(1, 2, 4)):
        assert not torch.equal(draw, other.normal("noise", (4,)))
    assert not torch.equal(draw, Draws(1, 2, 3).normal("posterior", (4,)))


def test_long_draws_of_neighbours_do_not_overlap():
    first = Draws(0, 0, 0).normal("noise", (100_000,))
    for other in (Draws(0, 0, 1), Draws(0, 1, 0)):
        second = other.normal("noise", (100_000,))
        assert not set(first[:50].tolist()) & set(second.tolist())


def test_a_step_is_drawn_alike_whatever_came_before():
    sampler = Sampler(small_cache(), 4)
    assert faces([sampler.micro_batch(SETTINGS, 0, 7, 0, 2)]) == faces([drawn(Sampler(small_cache(), 4), 8)[7]])
    assert faces(drawn(sampler, 8)) != faces(drawn(sampler, 8, seed=1))


def test_a_sample_of_a_batch_is_its_own():
    """Two passes of two samples draw what one pass of four would, as far as the size in common allows."""
    sampler = Sampler(small_cache(), 4)
    four = sampler.micro_batch(SETTINGS, 0, 5, 0, 4)
    two = sampler.micro_batch(SETTINGS, 0, 5, 2, 2)
    assert faces([four[2:]]) == faces([two])


def test_people_come_equally_often_however_many_photos_they_have():
    cache = small_cache(photos=6, people=3, pairs=0)
    few = [image for image in cache.images if cache.faces[image.crops[0].faces[0].face].identity != 0]
    keep = {image.index for image in few} | {0}
    images = tuple(
        image if image.index in keep else type(image)(**{**image.__dict__, "held_out": True}) for image in cache.images
    )
    sampler = Sampler(type(cache)(**{**cache.__dict__, "images": images}), 4)
    counts = Counter(cache.faces[p.face].identity for s in drawn(sampler, 300, count=1) for p in s[0].people)
    assert all(70 < counts[person] < 130 for person in range(3))


def test_held_out_photos_are_neither_targets_nor_references():
    cache = small_cache()
    sampler = Sampler(cache, 4)
    for samples in drawn(sampler, 200):
        for sample in samples:
            assert not cache.images[sample.image].held_out
            for person in sample.people:
                assert not cache.images[cache.faces[person.reference].image].held_out


def test_how_alike_two_photos_of_a_person_may_be_is_a_setting():
    cache = small_cache(photos=3, people=1, held_out=0)
    alike = cache.arcface.clone()
    alike[:] = cache.arcface[0]
    alike[1, 0] += 0.1
    same_shot = type(cache)(**{**cache.__dict__, "arcface": alike})
    assert len(Sampler(same_shot, 4).references(0)) == 0
    assert sorted(Sampler(same_shot, 4, same_shot_similarity=1.0).references(0)) == [1, 2]


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_paired_ratio_is_the_fraction_of_references_from_another_photo(ratio):
    cache = small_cache()
    people = [
        person
        for samples in drawn(Sampler(cache, 4), 200, DataSettings(cache="/x", paired_ratio=ratio))
        for sample in samples
        for person in sample.people
    ]
    other = [person for person in people if person.reference != person.face]
    assert abs(len(other) / len(people) - ratio) < 0.08
    for person in other:
        assert cache.faces[person.reference].identity == cache.faces[person.face].identity
        assert cache.faces[person.reference].image != cache.faces[person.face].image


def test_the_same_shot_and_another_persons_photo_are_no_references():
    cache = small_cache(photos=3, people=1, held_out=0)
    same, wrong = cache.arcface.clone(), cache.arcface.clone()
    same[:] = cache.arcface[0]
    wrong[1:] = -cache.arcface[1:]
    for embeddings in (same, wrong):
        sampler = Sampler(type(cache)(**{**cache.__dict__, "arcface": embeddings}), 4)
        assert sampler.reference(0, Draws(0, 0), "reference") is None


def averaging(single_ratio, **others):
    return DataSettings(cache="/x", references="mean", single_ratio=single_ratio, **others)


def batches(cache, settings, steps):
    sampler = Sampler(cache, 4)
    samples = [sampler.micro_batch(settings, 0, step, 0, 2) for step in range(steps)]
    return [(each, make_batch(cache, each, LatentScale(), None, 0, ConditioningSpec(siglip=True))) for each in samples]


def test_a_mean_reference_is_the_mean_direction_at_the_mean_length_of_all_other_photos():
    cache = small_cache(photos=6, pairs=3)
    for samples, batch in batches(cache, averaging(0.0, paired_ratio=1.0, id_dropout=0.0), 20):
        targets = [person.face for sample in samples for person in sample.people]
        for target, shown in zip(targets, batch.reference_FE, strict=True):
            record = cache.faces[target]
            others = [
                cache.arcface[index].double()
                for index, face in enumerate(cache.faces)
                if face.identity == record.identity
                and face.image != record.image
                and not cache.images[face.image].held_out
            ]
            assert len(others) > 3
            direction = sum(other / other.norm() for other in others)
            expected = direction / direction.norm() * sum(other.norm() for other in others) / len(others)
            torch.testing.assert_close(shown, expected.float())
        read = [batch.people.arcface_BPE[row, : len(sample.people)] for row, sample in enumerate(samples)]
        assert torch.equal(torch.cat(read), batch.reference_FE)


def test_no_mean_has_a_held_out_photo_or_the_target_itself_in_it():
    cache = small_cache()
    for samples in drawn(Sampler(cache, 4), 200, averaging(0.0)):
        for person in (person for sample in samples for person in sample.people):
            for face in person.averaged:
                assert not cache.images[cache.faces[face].image].held_out
                assert cache.faces[face].image != cache.faces[person.face].image
                assert cache.faces[face].identity == cache.faces[person.face].identity


def test_held_out_photos_do_not_change_a_mean():
    """Whatever they show: moved elsewhere, the embeddings that the adapter reads stay bitwise the same."""
    cache = small_cache()
    moved = cache.arcface.clone()
    for index, face in enumerate(cache.faces):
        if cache.images[face.image].held_out:
            moved[index] = -moved[index]
    other = type(cache)(**{**cache.__dict__, "arcface": moved})
    settings = averaging(0.0, paired_ratio=1.0)
    for (_, one), (_, two) in zip(batches(cache, settings, 20), batches(other, settings, 20), strict=True):
        assert torch.equal(one.reference_FE, two.reference_FE)


def test_nothing_but_the_embedding_of_pairs_differs_between_a_photo_and_the_mean():
    cache = small_cache()
    photos = batches(cache, DataSettings(cache="/x"), 30)
    means = batches(cache, averaging(0.0), 30)
    changed = 0
    for (samples, photo), (others, mean) in zip(photos, means, strict=True):
        assert faces([samples]) == faces([others])
        for name in ("clean_BCHW", "noise_BCHW", "sigmas_B", "target_FE"):
            assert torch.equal(getattr(photo, name), getattr(mean, name))
        assert all(torch.equal(photo.text[name], mean.text[name]) for name in ("t5", "pooled"))
        assert torch.equal(photo.people.siglip_BPTW, mean.people.siglip_BPTW)
        people = [person for sample in samples for person in sample.people if person.shown]
        for person, one, other in zip(people, photo.reference_FE, mean.reference_FE, strict=True):
            paired = person.reference != person.face
            assert torch.equal(one, other) != paired
            changed += paired
    assert changed > 10


def test_a_single_ratio_of_one_is_the_photo_bitwise():
    cache = small_cache()
    pairs = zip(batches(cache, DataSettings(cache="/x"), 20), batches(cache, averaging(1.0), 20), strict=True)
    for (samples, photo), (others, single) in pairs:
        assert faces([samples]) == faces([others])
        assert torch.equal(photo.reference_FE, single.reference_FE)
        assert torch.equal(photo.people.arcface_BPE, single.people.arcface_BPE)


def test_single_ratio_is_the_part_of_pairs_with_one_photos_embedding():
    people = [
        person
        for samples in drawn(Sampler(small_cache(), 4), 250, averaging(0.3, paired_ratio=1.0))
        for sample in samples
        for person in sample.people
    ]
    assert abs(np.mean([not person.averaged for person in people]) - 0.3) < 0.06


@pytest.mark.parametrize(
    ("name", "where"), [("text_dropout", "captioned"), ("id_dropout", "shown"), ("flip", "flipped")]
)
def test_dropout_and_flips_happen_as_often_as_said(name, where):
    batches = drawn(Sampler(small_cache(), 4), 250, DataSettings(cache="/x", **{name: 0.3}))
    samples = [sample for batch in batches for sample in batch]
    things = samples if where == "captioned" else [person for sample in samples for person in sample.people]
    fraction = sum(getattr(thing, where) for thing in things) / len(things)
    assert abs(fraction - (0.3 if where == "flipped" else 0.7)) < 0.06


def test_a_cache_with_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="No image of the cache can be trained on"):
        Sampler(small_cache(photos=1, held_out=1, pairs=0), 4)
    with pytest.raises(ValueError, match="max_people"):
        Sampler(small_cache(photos=1, held_out=1, pairs=2), 1)


def test_logit_normal_sigmas_are_drawn_and_shifted_as_said():
    cache = small_cache()
    noise = NoiseSettings(sigmas="logit_normal", logit_mean=-0.5, logit_std=0.7)
    sampler, found = Sampler(cache, 4), []
    for step in range(300):
        samples = sampler.micro_batch(SETTINGS, 0, step, 0, 2)
        batch = make_batch(cache, samples, LatentScale(), None, 0, noise=noise)
        plain = make_batch(cache, samples, LatentScale(), None, 0)
        assert torch.equal(batch.noise_BCHW, plain.noise_BCHW)  # no other draw is touched
        found.append(batch.sigmas_B)
    sigmas = torch.cat(found).double()
    shift = math.exp(0.5 + 0.65 * ((64 // 16) ** 2 - 256) / 3840)
    unshifted = sigmas / (shift - (shift - 1) * sigmas)
    logits = torch.logit(unshifted)
    assert abs(logits.mean() + 0.5) < 0.1
    assert abs(logits.std() - 0.7) < 0.07


def test_a_target_face_unlike_its_person_is_trained_on_and_not_judged(caplog):
    cache = small_cache(photos=5, people=1, held_out=0)
    embeddings = cache.arcface.clone()
    embeddings[2] = -embeddings[2]
    cache = type(cache)(**{**cache.__dict__, "arcface": embeddings})
    source = Source.of(cache, settings_of("run", "data.id_dropout=0"), torch.device("cpu"))
    assert "1 target faces are less like their person than cosine 0.3" in caplog.text
    assert "2.jpg" in caplog.text
    shown = judged = 0
    for step in range(60):
        samples = source.sampler.micro_batch(SETTINGS, 0, step, 0, 2)
        batch = make_batch(cache, samples, LatentScale(), source.bank, 8)
        people = [person for sample in samples for person in sample.people]
        odd = [person for person in people if person.face == 2]
        shown += len(odd)
        judged += sum(person.odd for person in odd)
        kept = [cache.arcface[person.face] for person in people if person.shown and person.face != 2]
        assert len(batch.target_FE) == len(batch.faces.sample_F) == len(batch.rows_FK) == len(kept)
        assert all(torch.equal(one, other) for one, other in zip(batch.target_FE, kept, strict=True))
    assert shown == judged > 10
    everybody = Sampler(cache, 4, min_target_cos=-1.0)
    assert not everybody.odd_faces


def test_jittered_references_come_as_often_as_asked_and_change_nothing_else():
    cache = small_cache(variants=3)
    settings = DataSettings(cache="/x", jitter=0.5)
    seen, spec = Counter(), ConditioningSpec(siglip=True)
    for step in range(150):
        plain = Sampler(cache, 4).micro_batch(SETTINGS, 0, step, 0, 2)
        jittered = Sampler(cache, 4).micro_batch(settings, 0, step, 0, 2)
        assert faces([plain]) == faces([jittered])
        batch = make_batch(cache, jittered, LatentScale(), None, 0, spec)
        for row, sample in enumerate(jittered):
            for place, person in enumerate(sample.people):
                seen[person.variant] += 1
                face = cache.face(person.reference, person.variant)
                expected = face.siglip_flipped if person.flipped else face.siglip
                assert torch.equal(batch.people.siglip_BPTW[row, place], expected)
    total = sum(seen.values())
    assert abs(seen[0] / total - 0.5) < 0.08
    assert all(abs(seen[variant] / total - 1 / 6) < 0.06 for variant in (1, 2, 3))


def test_jitter_without_jittered_references_in_the_cache_is_refused():
    with pytest.raises(ValueError, match=r"the cache has no jittered references.*jitter\.variants=4"):
        Source.of(small_cache(), settings_of("run", "data.jitter=0.5"), torch.device("cpu"))
