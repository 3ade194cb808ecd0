"""Settings to a session: every file is opened and checked against the others, the small ones first."""

import logging
from pathlib import Path

import torch
from accelerate import Accelerator

from withanyone_core.adapter.checkpoint import fingerprint as adapter_fingerprint
from withanyone_core.files.digest import file_sha256
from withanyone_core.metrics.judges import card_of, read_card

from ..base.base import load_base
from ..base.files import fingerprint, model_folder, sampled_fingerprint
from ..cache.cache import Cache
from ..configuration.finetune import Finetune
from ..evaluation.instruments import load_instruments
from ..evaluation.measuring import Instruments
from ..losses.arcface import Recognizer
from . import zero
from .compiling import check_compiler, compile_blocks
from .optimizer import make_optimizer, optimizer_class
from .painting import original
from .person import Person, cached_person, chosen_person
from .session import Session
from .sharding import check_divisible, divide, is_asked_for
from .source import Sources
from .step import Frozen
from .trained import Sizes, Trained, load_trained

LOGGER = logging.getLogger("withanyone")
NO_JUDGE = (
    "No judge is named (eval.judges). This run will have previews and the loss on held-out photos, but no likeness, no "
    "measure of copying, no early stop and no best checkpoint: its result is the last step's."
)


def open_session(settings: Finetune) -> Session:
    """A session that has gone on from what its folder holds.

    Raises FileNotFoundError, ValueError or RuntimeError in words for what is missing, damaged or does not fit.
    """
    optimizer_class(settings.optim)
    if zero.is_asked_for():
        zero.check_divisible(settings.optim.name)
    accelerator = Accelerator(cpu=device_name(settings) == "cpu")
    if not accelerator.is_main_process:
        LOGGER.setLevel(logging.ERROR)  # one process tells what all know
    sources = Sources(accelerator.device)
    cache = sources.at(settings).cache
    check_models(settings, sources)
    instruments = named_instruments(settings) if accelerator.is_main_process else None
    frozen = _frozen(settings, accelerator)
    check_widths(cache, frozen)
    dtype = frozen.transformer.x_embedder.weight.dtype
    sizes = Sizes(
        frozen.transformer.inner_dim,
        len(frozen.transformer.transformer_blocks) + len(frozen.transformer.single_transformer_blocks),
        cache.arcface.shape[1],
        siglip_width(cache),
    )
    person = person_of(settings, cache, frozen)
    trained = load_trained(settings.adapter, settings.train, sizes, accelerator.device, dtype, settings.seed, person)
    optimizer = make_optimizer(settings.optim, trained.parameters)
    base = sampled_fingerprint(model_folder(settings.base.path, "transformer"))
    origin = {"adapter": _origin(trained), "data": cache.data, "base": base} | (
        {"person": person.identity.name} if person else {}
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    session = Session(settings, accelerator, frozen, trained, sources, optimizer, instruments, origin)
    session.resume()
    _warn(session)
    return session


def person_of(settings: Finetune, cache: Cache, frozen: Frozen) -> Person | None:
    """Whose tokens are learned, None where the adapter is. Raises ValueError as `chosen_person` and `cached_person`."""
    if settings.train.mode != "tokens":
        return None
    recognizer = settings.id_loss.recognizer
    chosen = chosen_person(cache, settings.train.identity)
    return cached_person(cache, chosen, recognizer, lambda image: original(cache, image, 0, frozen))


def _warn(session: Session) -> None:
    """What this run will not be able to tell."""
    if not session.scenes and session.settings.eval.prompts:
        LOGGER.warning("The cache holds no held-out photos, so nothing is painted or judged while training.")
    elif session.instruments is None:
        LOGGER.warning(NO_JUDGE)


def device_name(settings: Finetune) -> str:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, and torch finds no CUDA device here. Set device=cpu, or auto.")
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def _frozen(settings: Finetune, accelerator: Accelerator) -> Frozen:
    device, recognizer = accelerator.device, None
    if settings.id_loss.recognizer is not None:
        recognizer = Recognizer.load(settings.id_loss.recognizer).to(device).eval().requires_grad_(False)
    memory, divided = settings.memory, accelerator.num_processes > 1 and is_asked_for()
    if divided:
        check_divisible(settings)
    if memory.compile_blocks:
        check_compiler(device)
    home = "cpu" if divided else device
    base = load_base(settings.base.path, settings.base.vae, settings.base.precision, home, memory.stream_blocks)
    if memory.checkpoint_blocks:
        base.transformer.enable_gradient_checkpointing()
    if memory.compile_blocks:
        compile_blocks(base.transformer)
    if divided:
        divide(base.transformer, accelerator.num_processes, device)
        base.vae.to(device)
    return Frozen(base.transformer, base.vae, base.scale, recognizer)


def check_models(settings: Finetune, sources: Sources) -> None:
    """ValueError where the cache of any phase was made with another recognizer or another VAE."""
    vae = settings.base.vae or settings.base.path
    folder = model_folder(vae, "vae")
    # A whole checkpoint as `base.path` holds a VAE that is no file of its own, so there is nothing to compare.
    wanted = {} if folder == settings.base.path else {f"the VAE {vae.name}": fingerprint(folder)}
    if settings.id_loss.recognizer is not None:
        wanted[f"the recognizer {settings.id_loss.recognizer.name}"] = _digest(settings.id_loss.recognizer)
    for path in settings.caches:
        sources.cache(path).check_models(wanted)


def _digest(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"There is no recognizer {path}. Name the face pack's .onnx as id_loss.recognizer.")
    return file_sha256(path)


def named_instruments(settings: Finetune) -> Instruments | None:
    """What judges previews; None where nobody is asked to."""
    look = settings.eval
    if not look.judges:
        return None
    for path in look.judges:
        onnx = path if path.suffix == ".onnx" else path.parent / read_card(path).onnx
        trained_with = read_card(card_of(onnx) if path.suffix == ".onnx" else path).trained_with
        is_trained = (
            settings.id_loss.recognizer is not None
            and onnx.is_file()
            and (
                onnx.stat().st_size == settings.id_loss.recognizer.stat().st_size
                and file_sha256(onnx) == file_sha256(settings.id_loss.recognizer)
            )
        )
        if is_trained and not trained_with:
            raise ValueError(
                f"The judge {path.name} is the recognizer of the identity loss, which training teaches to be pleased. "
                "Name another in eval.judges, or mark it trained_with in its card."
            )
    return load_instruments(look.face_pack, look.judges, look.provider, settings.out)


def check_widths(cache: Cache, frozen: Frozen) -> None:
    """ValueError where the cached latents and texts are not the base model's."""
    image, config = cache.images[0], frozen.transformer.config
    text = cache.text(image)
    found = {
        "latent channels": (cache.latent(image, 0)[0].shape[0], frozen.vae.config.latent_channels),
        "numbers a T5 token": (text.t5.shape[-1], config.joint_attention_dim),
        "numbers a CLIP vector": (text.pooled.shape[-1], config.pooled_projection_dim),
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


def _origin(trained: Trained) -> str:
    return "fresh weights" if trained.file is None else adapter_fingerprint(trained.file)
