"""Training one person's own tokens: what is trained, what it starts from, and the identity that comes of it."""

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from withanyone_pack.tests.adapter.random_adapter import random_adapter, random_tensors
from withanyone_pack.tests.training.small_cache import small_cache
from withanyone_pack.tests.training.small_trainer import HIDDEN, LAYERS, SIGLIP_WIDTH, small_trainer
from withanyone_pack.tests.training.test_resume import assert_same_state, rows, run

from training.export import main as export
from training.loop.batch import make_batch
from training.loop.checkpoints import ADAPTER, checkpoints
from training.loop.train import train
from training.loop.validation import generate_image
from training.report.report import finish
from withanyone_core.adapter.checkpoint import fingerprint, inspect_adapter
from withanyone_core.adapter.network import AdapterNetwork
from withanyone_core.adapter.shape import Branch, BranchShape
from withanyone_core.faces.portrait import mean_embedding
from withanyone_core.identities.identity_file import load_identity
from withanyone_core.injection.placing import placed_identities
from withanyone_core.regions.layout import Box

ARC = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512)
SIG = BranchShape(hidden=HIDDEN, heads=2, layers=LAYERS, arc_tokens=4, embedding=512, siglip_width=SIGLIP_WIDTH)
BRANCHES = {"arc": (Branch.ARC,), "sig": (Branch.SIG,), "both": (Branch.ARC, Branch.SIG)}
WHO = "person 1"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Its projectors make tokens of a size far from 1, as a trained adapter's may be."""
    path = tmp_path_factory.mktemp("init") / "withanyone.safetensors"
    tensors = random_tensors((ARC, SIG))
    last = ("arcface_in_arc.3.weight", "arcface_in_sig.3.weight", "siglip_in_sig.3.weight")
    save_file({name: 40 * value if name in last else value for name, value in tensors.items()}, path)
    return path


def changes(released, *more):
    return ("train.mode=tokens", f"adapter.init={released}", f"train.identity={WHO}", "optim.lr=1e-2", *more)


def finished(folder, released, *more, photos=None):
    trainer = small_trainer(
        folder, *changes(released, "optim.steps=2", "validation.every_steps=1", *more), photos=photos
    )
    train(trainer)
    path = finish(trainer)
    trainer.close()
    return path, trainer


@pytest.mark.parametrize("branch", BRANCHES)
def test_gradients_reach_the_tokens_and_nothing_else(tmp_path, released, branch):
    trainer = small_trainer(
        tmp_path, *changes(released, f"adapter.branch={branch}", "optim.batch_size=4", "data.id_dropout=0")
    )
    sizes = {"learned.arc": (1, 4, HIDDEN), "learned.sig": (1, 8, HIDDEN)}
    expected = {f"learned.{each.value}": sizes[f"learned.{each.value}"] for each in BRANCHES[branch]}
    parameters = trainer.state.adapter.parameters
    assert {name: tuple(value.shape) for name, value in parameters.items()} == expected
    trainer._accumulate(trainer.state.settings, 0, 0)
    for name, parameter in parameters.items():
        assert (parameter.grad.abs().sum(dim=-1) > 0).all(), name
    for module in (
        trainer.state.adapter.network,
        trainer.state.frozen.transformer,
        trainer.state.frozen.vae,
        trainer.state.frozen.recognizer,
    ):
        assert all(not each.requires_grad and each.grad is None for each in module.parameters())
    trainer.close()


def test_a_pass_without_the_person_has_gradients_of_zero(tmp_path, released):
    """Whoever is left out of a pass must not stop the run."""
    trainer = small_trainer(tmp_path, *changes(released, "data.id_dropout=1"))
    trainer._accumulate(trainer.state.settings, 0, 0)
    assert all(parameter.grad is not None for parameter in trainer.state.adapter.parameters.values())
    assert not any(parameter.grad.any() for parameter in trainer.state.adapter.parameters.values())
    trainer.close()


def test_they_start_where_an_identity_of_the_same_photos_stands(tmp_path, released):
    """Up to a power of two, which the attention's norm takes out again."""
    trainer = small_trainer(tmp_path, *changes(released, "adapter.branch=both"))
    cache = small_cache()
    embeddings = [cache.arcface[face] for face in cache.faces_of(1)]
    mean = torch.from_numpy(mean_embedding([embedding.numpy() for embedding in embeddings]))
    known = trainer.state.adapter.person.identity
    assert torch.equal(known.arcface, mean)
    assert any(torch.equal(known.siglip, cache.face(face).siglip) for face in cache.faces_of(1))
    assert known.embeddings.shape == (len(embeddings), 512)
    for branch, tokens in trainer.state.adapter.learned.items():
        encoder = trainer.state.adapter.network[branch].encoder
        made = encoder.tokens(mean[None], known.siglip[None])
        ratio = (made / tokens).flatten()
        assert torch.allclose(ratio, ratio[0].expand_as(ratio))
        assert torch.log2(ratio[0]).frac().abs() < 1e-6
        assert 0.5 < tokens.square().mean().sqrt() < 2
        assert torch.allclose(
            encoder(mean[None], known.siglip[None], tokens), encoder(mean[None], known.siglip[None]), atol=1e-3
        )
    trainer.close()


def test_only_the_person_is_drawn_and_only_their_tokens_are_replaced(tmp_path, released):
    trainer = small_trainer(tmp_path, *changes(released, "data.id_dropout=0"))
    source = trainer.state.sources.at(trainer.state.settings)
    crowds = 0
    for step in range(40):
        samples = source.sampler.micro_batch(trainer.state.settings.data, 0, step, 0, 1)
        names = [source.cache.name_of(person.face) for person in samples[0].people]
        assert WHO in names
        batch = make_batch(
            source.cache, samples, trainer.state.frozen.scale, source.bank, 4, trainer.state.conditioning
        )
        rows = batch.people.learned[Branch.ARC].rows_BP[0]
        assert rows.tolist() == [0 if name == WHO else -1 for name in names]
        crowds += len(names) > 1
    assert 0 < crowds < 40
    assert trainer.validator.scenes
    for scene in trainer.validator.scenes:
        assert WHO in {source.cache.name_of(person.face) for person in scene.sample.people}
    trainer.close()


@pytest.mark.parametrize("branch", BRANCHES)
def test_stopped_and_gone_on_equals_uninterrupted_to_the_last_bit(tmp_path, released, branch):
    given = changes(released, f"adapter.branch={branch}", "optim.ema=0.9")
    run(tmp_path / "whole", *given)
    run(tmp_path / "parts", *given, stop_after=3)
    run(tmp_path / "parts", *given)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert_same_state(tmp_path / "parts", tmp_path / "whole")


def test_the_result_is_the_identity_with_the_trained_tokens(tmp_path, released):
    path, trainer = finished(tmp_path, released, "adapter.branch=both")
    assert path.name == "person 1.safetensors"
    identity, known = load_identity(path), trainer.state.adapter.person.identity
    assert identity.name == WHO
    assert identity.made_from == "5 photos, combined by mean; own tokens of 2 steps for withanyone.safetensors"
    assert identity.learned.adapter == fingerprint(inspect_adapter(released))
    assert identity.learned.adapter_name == "withanyone.safetensors"
    assert torch.equal(identity.arcface, known.arcface)
    assert torch.equal(identity.siglip, known.siglip)
    for branch, tokens in trainer.state.adapter.learned.items():
        assert torch.equal(getattr(identity.learned, branch.value), tokens[0].half())
    assert "person 1 as an identity after 2 of 2 steps" in (tmp_path / "report.md").read_text()


def test_it_generates_what_training_generated(tmp_path, released):
    """The file through the door that programs without ComfyUI use gives the preview's image."""
    path, trainer = finished(tmp_path, released, "adapter.branch=both")
    identity, file = load_identity(path), inspect_adapter(released)
    trainer = small_trainer(
        tmp_path, *changes(released, "adapter.branch=both", "optim.steps=2", "validation.every_steps=1")
    )
    scene, cache = trainer.validator.scenes[0], small_cache()
    seen = generate_image(cache, scene, trainer.state.frozen, trainer.socket, 2, 4.0, trainer.state.conditioning)
    regions = [Box(*person.box) for person in scene.sample.people]
    people = placed_identities([[identity]], [regions], 64, 64, file)
    from training.loop import validation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "placed_people", lambda *_: people)
        again = generate_image(cache, scene, trainer.state.frozen, trainer.socket, 2, 4.0, trainer.state.conditioning)
        ordinary = placed_identities([[trainer.state.adapter.person.identity]], [regions], 64, 64, file)
        patch.setattr(validation, "placed_people", lambda *_: ordinary)
        before = generate_image(cache, scene, trainer.state.frozen, trainer.socket, 2, 4.0, trainer.state.conditioning)
    assert abs(again.astype(int) - seen).max() <= 1
    assert (before != seen).any()
    trainer.close()


def test_export_writes_the_same_file_of_any_checkpoint(tmp_path, released):
    path, _ = finished(tmp_path / "run", released)
    out = tmp_path / "again.safetensors"
    assert export([str(checkpoints(tmp_path / "run")[-1]), "--out", str(out)]) == 0
    assert out.read_bytes() == path.read_bytes()
    with safe_open(checkpoints(tmp_path / "run")[0] / ADAPTER, framework="pt") as reader:
        assert "own tokens of 1 steps" in reader.metadata()["made_from"]


def test_a_damaged_checkpoint_gives_no_identity(tmp_path, released, capsys):
    finished(tmp_path / "run", released)
    checkpoint = checkpoints(tmp_path / "run")[-1]
    content = bytearray((checkpoint / ADAPTER).read_bytes())
    content[-1] ^= 1
    (checkpoint / ADAPTER).write_bytes(content)
    assert export([str(checkpoint), "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert not list(tmp_path.glob("x*"))


def test_a_file_for_flux_has_at_most_4_mb(tmp_path):
    """Both branches at the released adapter's size, from fifty photos."""
    from dataclasses import replace

    from safetensors.torch import save

    from training.loop.own_tokens import Person, with_tokens
    from withanyone_core.identities.identity_file import file_content
    from withanyone_core.identity import Identity

    file = inspect_adapter(random_adapter(tmp_path / "small.safetensors", shapes=(ARC, SIG)))
    known = Identity("Ann", torch.ones(512), torch.zeros(256, 768), torch.zeros(512, 512, 3))
    person = Person(replace(known, embeddings=torch.ones(50, 512)), "f" * 64)
    values = {"learned.arc": torch.zeros(1, 8, 3072), "learned.sig": torch.zeros(1, 264, 3072)}
    assert len(save(*file_content(with_tokens(person, values, file, 200)))) <= 4e6


def test_the_crop_is_of_the_photo_while_it_is_there(tmp_path, released):
    from dataclasses import replace

    cache = small_cache()
    grey = Image.new("RGB", (640, 640), (10, 200, 30))
    images = []
    for image in cache.images:
        grey.save(tmp_path / f"{image.index}.png")
        images.append(replace(image, source=str(tmp_path / f"{image.index}.png")))
    trainer = small_trainer(tmp_path / "run", *changes(released), photos=replace(cache, images=tuple(images)))
    crop = trainer.state.adapter.person.identity.crop
    assert torch.allclose(crop, torch.tensor([10, 200, 30]).expand(512, 512, 3) / 255)
    trainer.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["train.identity="], "learns one person, and the cache holds person 0, person 1. Name whose"),
        (["train.identity=anna"], "train.identity is 'anna', and the cache holds person 0, person 1"),
        (["adapter.init=none"], "train.mode is tokens and adapter.init is none"),
    ],
)
def test_who_or_what_is_missing_is_reported(tmp_path, released, given, words):
    with pytest.raises(ValueError, match=words):
        small_trainer(tmp_path, *changes(released, *given))


def test_the_only_person_needs_no_name(tmp_path, released):
    trainer = small_trainer(tmp_path, *changes(released, "train.identity="), photos=small_cache(people=1))
    assert trainer.state.adapter.person.identity.name == "person 0"
    trainer.close()


def test_a_run_of_one_person_does_not_go_on_with_another(tmp_path, released):
    finished(tmp_path, released)
    with pytest.raises(ValueError, match="hold the tokens of person 1, and train"):
        small_trainer(tmp_path, *changes(released, "train.identity=person 0"))


def test_tokens_train_beside_the_whole_adapter_network_untouched(tmp_path, released):
    _, trainer = finished(tmp_path, released)
    before = AdapterNetwork.load(inspect_adapter(released), (Branch.ARC,)).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in trainer.state.adapter.network.state_dict().items())
