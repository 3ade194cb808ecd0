"""FLUX.1's two text encoders, T5 and CLIP, from single files or folders, with tokenizers from the user's disk."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from .files import fingerprint, model_folder, open_tensors
from .scaled import dequantize_scaled

if TYPE_CHECKING:
    from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel

Encoder = TypeVar("Encoder", bound=nn.Module)
HUB_REPOSITORY = "black-forest-labs/FLUX.1-dev"  # whose tokenizers may lie in the hub's cache already
# What whole checkpoints and bundles put before the names.
_T5_PREFIXES = ("text_encoders.t5xxl.transformer.", "t5xxl.transformer.", "t5xxl.")
_CLIP_PREFIXES = ("text_encoders.clip_l.transformer.", "clip_l.transformer.", "clip_l.")
# Of the released program: T5 padded to 512 tokens, CLIP to all its 77 positions.
_T5_TOKENS, _CLIP_TOKENS = 512, 77
# Two numbers that no tensor shows: the channels of a CLIP head, the distance from which T5's buckets are one.
_CLIP_HEAD, _T5_BUCKETS_DISTANCE = 64, 128
_OVERFLOWING = "DenseReluDense.wo.weight"
_TOKENIZER_FILES = ("*.json", "*.model", "*.txt")


class FluxText:
    """Encodes texts for the transformer.

    names        of the tensors of a text
    fingerprint  SHA-256 over weights, tokenizers and the number of tokens

    The models come to the device with the first text and leave memory with `release`: T5 alone fills most cards.

    Raises FileNotFoundError or ValueError for files that are missing or of another kind.
    """

    names: tuple[str, ...] = ("t5", "pooled")

    def __init__(
        self,
        t5: Path,
        clip: Path,
        t5_tokenizer: Path | None = None,
        clip_tokenizer: Path | None = None,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
    ) -> None:
        self._t5_tokenizer, self._t5_marks = open_tokenizer(
            t5_tokenizer or folder_inside(t5, "tokenizer_2"), "tokenizer_2", "t5_tokenizer", HUB_REPOSITORY
        )
        self._clip_tokenizer, self._marks = open_tokenizer(
            clip_tokenizer or folder_inside(clip, "tokenizer"), "tokenizer", "clip_tokenizer", HUB_REPOSITORY
        )
        self._device = device
        t5_model, clip_model = load_t5(t5, dtype), load_clip(clip, dtype)
        self._models: tuple[nn.Module, nn.Module] | None = (t5_model, clip_model)
        self.t5_tokens = min(self._t5_tokenizer.model_max_length, _T5_TOKENS)
        positions = clip_model.config.max_position_embeddings
        self.clip_tokens = min(self._clip_tokenizer.model_max_length, positions, _CLIP_TOKENS)
        self.fingerprint = digest(
            fingerprint(model_folder(t5, "text_encoder_2")),
            fingerprint(model_folder(clip, "text_encoder")),
            self._t5_marks,
            self._marks,
            str(self.t5_tokens),
        )

    @torch.no_grad()
    def encode(self, text: str) -> dict[str, Tensor]:
        """T5's states [tokens, width], padded and without a mask as FLUX.1 was trained, and CLIP's pooled [width].

        Raises RuntimeError after `release`.
        """
        if self._models is None:
            raise RuntimeError("The text encoders have been released; open them again for further texts.")
        t5_model, clip_model = (model.to(self._device) for model in self._models)
        t5 = t5_model(input_ids=self._ids(self._t5_tokenizer, text, self.t5_tokens, t5_model)).last_hidden_state[0]
        ids = self._ids(self._clip_tokenizer, text, self.clip_tokens, clip_model)
        states = clip_model(input_ids=ids).last_hidden_state[0]
        # CLIP's summary is the state of the first end mark; padding repeats that mark.
        end: Any = self._clip_tokenizer.eos_token_id
        pooled = states[ids[0].eq(end).int().argmax()]
        return {"t5": t5.float().cpu(), "pooled": pooled.float().cpu()}

    def release(self) -> None:
        """Gives the models' memory back; no text is read any more."""
        self._models = None

    @staticmethod
    def _ids(tokenizer: "PreTrainedTokenizerBase", text: str, length: int, model: nn.Module) -> Tensor:
        tokens = tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return tokens.input_ids.to(next(model.parameters()).device)


def load_t5(path: Path, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu") -> "T5EncoderModel":
    """A frozen T5 encoder, sizes read off its tensors."""
    from transformers import T5Config, T5EncoderModel

    state = _state(model_folder(path, "text_encoder_2"), _T5_PREFIXES, dtype)
    _require(path, state, "encoder.block.0.layer.0.SelfAttention.q.weight", "T5 encoder (t5xxl_fp16.safetensors)")
    bias = state["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    query = state["encoder.block.0.layer.0.SelfAttention.q.weight"]
    gated = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in state
    first = state[f"encoder.block.0.layer.1.DenseReluDense.{'wi_0' if gated else 'wi'}.weight"]
    shared = state["shared.weight" if "shared.weight" in state else "encoder.embed_tokens.weight"]
    configuration = T5Config(
        vocab_size=shared.shape[0],
        d_model=query.shape[1],
        d_kv=query.shape[0] // bias.shape[1],
        num_heads=bias.shape[1],
        d_ff=first.shape[0],
        num_layers=_layers(state, "encoder.block."),
        relative_attention_num_buckets=bias.shape[0],
        relative_attention_max_distance=_T5_BUCKETS_DISTANCE,
        feed_forward_proj="gated-gelu" if gated else "relu",
        dropout_rate=0.0,
    )
    # The embedding is tied: files hold it under one name or the other, and the class expects both.
    state = {**state, "shared.weight": shared, "encoder.embed_tokens.weight": shared}
    with torch.device("meta"):  # random weights for 4.8 billion parameters would take minutes
        model = T5EncoderModel(configuration)
    return _filled(path, model, state, device)


def load_clip(path: Path, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu") -> "CLIPTextModel":
    """A frozen CLIP text model, sizes read off its tensors (heads of 64 channels)."""
    from transformers import CLIPTextConfig, CLIPTextModel

    state = _state(model_folder(path, "text_encoder"), _CLIP_PREFIXES, dtype)
    state = {key.removeprefix("text_model."): value for key, value in state.items()}
    _require(path, state, "embeddings.token_embedding.weight", "CLIP text model (clip_l.safetensors)")
    vocabulary, width = state["embeddings.token_embedding.weight"].shape
    configuration = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=_layers(state, "encoder.layers."),
        num_attention_heads=max(1, width // _CLIP_HEAD),
        max_position_embeddings=state["embeddings.position_embedding.weight"].shape[0],
        # OpenAI's CLIP was trained with this approximation.
        hidden_act="quick_gelu",
        # CLIP's vocabulary ends with its start and its end mark.
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
    )
    return _filled(path, CLIPTextModel(configuration), state, device, "text_model.")


def _filled(
    path: Path, model: Encoder, state: Mapping[str, Tensor], device: torch.device | str, prefix: str = ""
) -> Encoder:
    """The model with the tensors in place of its own, frozen, on the device."""
    # Older transformers keep CLIP's layers under a name of their own.
    named = {key: state.get(key, state.get(key.removeprefix(prefix))) for key in model.state_dict()}
    missing = [key for key, value in named.items() if value is None]
    if missing:
        raise ValueError(f"{Path(path).name} is not complete: {', '.join(missing[:4])} is missing.")
    model.load_state_dict(named, assign=True)
    nn.Module.to(model, device)  # in place; transformers wraps its own `to`, which loses its type
    return model.train(False).requires_grad_(False)


def _state(path: Path, prefixes: tuple[str, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors without the prefix a bundled file gives them, scaled fp8 de-scaled, each in its type before the next.

    T5's last matrices overflow in float16; its class takes them in float32 beside the rest.
    """
    tensors = open_tensors(path)
    prefix = next((each for each in prefixes if any(key.startswith(each) for key in tensors)), "")
    keys = {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
    return {
        name: tensor.to(torch.float32 if dtype == torch.float16 and name.endswith(_OVERFLOWING) else dtype)
        for name, tensor in dequantize_scaled(Path(path), tensors, keys)
    }


def folder_inside(path: Path, name: str) -> Path | None:
    folder = Path(path) / name
    return folder if folder.is_dir() else None


def open_tokenizer(
    folder: Path | None, name: str, setting: str, repository: str
) -> tuple["PreTrainedTokenizerBase", str]:
    """A tokenizer of a folder, or of the hub's cache where none is named; and a digest of its files."""
    from transformers import AutoTokenizer

    found = Path(folder) if folder is not None else _cached(name, setting, repository)
    if not found.is_dir():
        raise FileNotFoundError(f"There is no folder {found} with a tokenizer; see {setting}.")
    files = sorted({file for pattern in _TOKENIZER_FILES for file in found.glob(pattern)})
    try:
        return AutoTokenizer.from_pretrained(str(found), local_files_only=True), digest(
            *(f"{file.name} {file.read_bytes().hex()}" for file in files)
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{found} holds no tokenizer: {error}") from error


def _cached(name: str, setting: str, repository: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    for file in ("tokenizer_config.json", "tokenizer.json"):
        path = try_to_load_from_cache(repository, f"{name}/{file}")
        if isinstance(path, str):
            return Path(path).parent
    raise FileNotFoundError(
        f"No tokenizer was named, and {repository}'s is not in the hub's cache. Set {setting} to a folder with "
        f"tokenizer.json (the folder {name} of {repository})."
    )


def digest(*texts: str) -> str:
    return sha256("\n".join(texts).encode()).hexdigest()


def _require(path: Path, state: Mapping[str, Tensor], key: str, what: str) -> None:
    if key not in state:
        raise ValueError(f"{Path(path).name} is no {what}: {key} is missing.")


def _layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in state if key.startswith(prefix))
