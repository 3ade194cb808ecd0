"""Settings to a trainer: every file is opened and checked against the others, the small ones first."""

import logging
from pathlib import Path

import torch
from accelerate import Accelerator

from withanyone_core.adapter.checkpoint import fingerprint as adapter_fingerprint
from withanyone_core.files.digest import file_sha256
from withanyone_core.metrics.judge_card import card_of, read_card
from withanyone_core.metrics.judges import is_dlib

from ..base.base import load_base
from ..base.compiling import check_compiler, compile_blocks
from ..base.files import fingerprint, model_folder, sampled_fingerprint
from ..base.registry import family_named, family_of_module
from ..cache.cache import Cache
from ..configuration.finetune import Finetune
from ..distributed import zero
from ..distributed.sharding import check_shardable, is_fsdp_requested, shard
from ..evaluation.measuring import EvaluationModels
from ..evaluation.models import load_evaluation_models
from ..losses.arcface import Recognizer
from .early_stopping import LEAST_IMAGES
from .log import make_accelerator, start_trackers
from .optimizer import make_optimizer, optimizer_class
from .own_tokens import Person, cached_person, chosen_person
from .prompts import prompt_scenes
from .sampling import Sources
from .state import TrainingState
from .step import FrozenModels
from .trainable import Sizes, TrainableAdapter, load_trainable
from .trainer import Trainer
from .validation import decode_photo

LOGGER = logging.getLogger("withanyone")
NO_JUDGE = (
    "No judge is named (validation.judges). This run will have previews and the loss on held-out photos, but no "
    "likeness, no measure of copying, no early stopping and no best checkpoint: its result is the last step's."
)

FEW_IMAGES = (
    "Each validation generates %d images, and fewer than %d cannot show a difference: this run will have scores, but "
    "no early stopping and no best checkpoint. Raise validation.seeds or num_images, or prepare with more photos held "
    "out."
)


def build_trainer(settings: Finetune) -> Trainer:
    """A trainer that has resumed from what the run's folder holds.

    Raises FileNotFoundError, ValueError or RuntimeError for what is missing, damaged or does not fit.
    """
    # Only for its errors: a library that is missing is found before any file is opened.
    optimizer_class(settings.optim)
    if zero.is_deepspeed_requested():
        zero.check_shardable(settings.optim.name)
    accelerator = make_accelerator(settings, device_name(settings) == "cpu")
    if not accelerator.is_main_process:
        LOGGER.setLevel(logging.ERROR)  # one process logs for all
    sources = Sources(accelerator.device)
    cache = sources.at(settings).cache
    check_models(settings, sources)
    # The main process alone generates and scores.
    evaluation_models = load_judges(settings) if accelerator.is_main_process else None
    # The text encoders leave before the base model comes.
    prompts = prompt_scenes(settings, cache, accelerator)
    frozen = _frozen(settings, accelerator)
    check_widths(cache, frozen)
    # Blocks may be quantized, the embedder never is: its type is that of the activations.
    dtype = frozen.transformer.x_embedder.weight.dtype
    sizes = Sizes(
        frozen.transformer.inner_dim,
        len(frozen.transformer.transformer_blocks) + len(frozen.transformer.single_transformer_blocks),
        cache.arcface.shape[1],
        siglip_width(cache),
        family_of_module(frozen.transformer).model,
    )
    person = person_of(settings, cache, frozen)
    adapter = load_trainable(settings.adapter, settings.train, sizes, accelerator.device, dtype, settings.seed, person)
    optimizer = make_optimizer(settings.optim, adapter.parameters)
    base = sampled_fingerprint(model_folder(settings.base.path, "transformer"))
    origin = {"adapter": _origin(adapter), "data": cache.data, "base": base} | (
        {"person": person.identity.name} if person else {}
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    state = TrainingState(
        settings, accelerator, frozen, adapter, sources, optimizer, evaluation_models, origin, prompts
    )
    trainer = Trainer(state)
    start_trackers(accelerator, settings)
    trainer.resume()
    _announce(trainer)
    _warn(trainer)
    return trainer


def person_of(settings: Finetune, cache: Cache, frozen: FrozenModels) -> Person | None:
    """Whose tokens are trained, None where the adapter is. Raises ValueError as `chosen_person` and `cached_person`."""
    if settings.train.mode != "tokens":
        return None
    recognizer = settings.id_loss.recognizer
    chosen = chosen_person(cache, settings.train.identity)
    return cached_person(cache, chosen, recognizer, lambda image: decode_photo(cache, image, 0, frozen))


def _announce(trainer: Trainer) -> None:
    """Logs on how many processes the run trains, which launchers do not say."""
    count, optim = trainer.processes.count, trainer.state.settings.optim
    LOGGER.info(
        "Training on %d %s (%s): %d samples a step.",
        count,
        "process" if count == 1 else "processes",
        trainer.state.accelerator.device,
        count * optim.batch_size * optim.gradient_accumulation_steps,
    )
    if trainer.validator.both is not None:
        LOGGER.info(
            "Validation generates images with both branches, at resemblance %g (validation.resemblance).",
            trainer.state.settings.validation.resemblance,
        )


def _warn(trainer: Trainer) -> None:
    """Logs what this run cannot measure."""
    state = trainer.state
    if not trainer.validator.scenes and state.settings.validation.num_images:
        LOGGER.warning(
            "The cache holds no held-out photos, so %s while training.",
            "only your prompts are generated" if state.prompts else "nothing is validated",
        )
    elif state.evaluation_models is None:
        LOGGER.warning(NO_JUDGE)
    elif 0 < len(trainer.validator.scenes) < LEAST_IMAGES:
        LOGGER.warning(FEW_IMAGES, len(trainer.validator.scenes), LEAST_IMAGES)


def device_name(settings: Finetune) -> str:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, and torch finds no CUDA device here. Set device=cpu, or auto.")
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def _frozen(settings: Finetune, accelerator: Accelerator) -> FrozenModels:
    device, recognizer = accelerator.device, None
    if settings.id_loss.recognizer is not None:
        recognizer = Recognizer.load(settings.id_loss.recognizer).to(device).train(False).requires_grad_(False)
    memory, is_sharded = settings.memory, accelerator.num_processes > 1 and is_fsdp_requested()
    if is_sharded:
        check_shardable(settings)
    if memory.compile_blocks:
        check_compiler(device)
    # FSDP is for cards that cannot hold all of it: `shard` moves each process's part.
    home = "cpu" if is_sharded else device
    base = load_base(settings.base.path, settings.base.vae, settings.base.precision, home, memory.blocks_to_swap)
    if memory.gradient_checkpointing:
        base.transformer.enable_gradient_checkpointing()
    if memory.compile_blocks:
        compile_blocks(base.transformer)
    if is_sharded:
        shard(base.transformer, accelerator.num_processes, device)
        base.vae.to(device)
    return FrozenModels(base.transformer, base.vae, base.scale, recognizer)


def check_models(settings: Finetune, sources: Sources) -> None:
    """ValueError where the cache of any phase was made with another recognizer or another VAE."""
    vae = settings.base.vae or settings.base.path
    folder = model_folder(vae, "vae")
    # A whole checkpoint as `base.path` holds a VAE that is no file of its own, so there is nothing to compare.
    expected = {} if folder == settings.base.path else {f"the VAE {vae.name}": fingerprint(folder)}
    if settings.id_loss.recognizer is not None:
        expected[f"the recognizer {settings.id_loss.recognizer.name}"] = _digest(settings.id_loss.recognizer)
    for path in settings.caches:
        sources.cache(path).check_models(expected)


def _digest(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"There is no recognizer {path}. Name the face pack's .onnx as id_loss.recognizer.")
    return file_sha256(path)


def load_judges(settings: Finetune) -> EvaluationModels | None:
    """What scores previews; None where no judge is named."""
    validation = settings.validation
    if not validation.judges:
        return None
    for path in (path for path in validation.judges if not is_dlib(path)):
        onnx = path if path.suffix == ".onnx" else path.parent / read_card(path).onnx
        trained_with = read_card(card_of(onnx) if path.suffix == ".onnx" else path).trained_with
        is_trained = (
            settings.id_loss.recognizer is not None
            and onnx.is_file()
            # Sizes first, because a hash reads the whole file.
            and (
                onnx.stat().st_size == settings.id_loss.recognizer.stat().st_size
                and file_sha256(onnx) == file_sha256(settings.id_loss.recognizer)
            )
        )
        if is_trained and not trained_with:
            raise ValueError(
                f"The judge {path.name} is the recognizer of the identity loss, which training optimizes. "
                "Name another in validation.judges, or mark it trained_with in its card."
            )
    return load_evaluation_models(validation.face_pack, validation.judges, validation.provider, settings.out)


def check_widths(cache: Cache, frozen: FrozenModels) -> None:
    """ValueError where the cached latents and texts are not the base model's."""
    image, config = cache.images[0], frozen.transformer.config
    family = family_of_module(frozen.transformer)
    if cache.base != family.model.name:
        raise ValueError(
            f"The photos were prepared for {family_named(cache.base).label}, and the base model is {family.label}. "
            "Prepare them again with the VAE and the text encoders of this one."
        )
    text = cache.text(image)
    found = {"latent channels": (cache.latent(image, 0)[0].shape[0], frozen.vae.config["latent_channels"])} | {
        f"numbers {each.numbers_of}": (text[name].shape[-1], config[each.width]) for name, each in family.texts.items()
    }
    for what, (cached, expected) in found.items():
        if cached != expected:
            raise ValueError(
                f"The cache holds {cached} {what}, and the base model reads {expected}. It was prepared with models of "
                "another base; prepare the photos again with those of this one."
            )


def siglip_width(cache: Cache) -> int | None:
    tokens = cache.face(0).siglip
    return None if tokens is None else tokens.shape[-1]


def _origin(adapter: TrainableAdapter) -> str:
    return "fresh weights" if adapter.file is None else adapter_fingerprint(adapter.file)
