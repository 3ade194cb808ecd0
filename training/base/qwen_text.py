"""FLUX.2 klein's text encoder, Qwen3: states of three of its layers, side by side for each token (docs/flux2.md)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .files import fingerprint, model_folder, open_tensors
from .scaled import dequantize_scaled
from .text import digest, folder_inside, open_tokenizer

if TYPE_CHECKING:
    from transformers import Qwen3Model

HUB_REPOSITORY = "black-forest-labs/FLUX.2-klein-base-4B"  # whose tokenizer may lie in the hub's cache already
_FIRST = "layers.0.self_attn.q_norm.weight"  # what comes before it in a file comes before every name
_PARTS = ("embed_tokens.", "layers.")  # of the language model; what looks at images or predicts words is left out
_TOKENS = 512
_THETA, _EPSILON = 1e6, 1e-6  # in no tensor: the base of the rotary frequencies, and of the norms
_OF_TRANSFORMERS_4: dict[str, Any] = {"rope_theta": _THETA}
# One turn of Qwen3's chat with an empty thought, as its template writes it with thinking off.
_TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class QwenText:
    """Encodes texts for FLUX.2 klein.

    names        of the tensors of a text
    fingerprint  SHA-256 over weights, tokenizer and the number of tokens

    The model comes to the device with the first text and leaves memory with `release`.

    Raises FileNotFoundError or ValueError for files that are missing or of another kind.
    """

    names: tuple[str, ...] = ("states",)

    def __init__(
        self,
        path: Path,
        tokenizer: Path | None = None,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
    ) -> None:
        self._tokenizer, marks = open_tokenizer(
            tokenizer or folder_inside(path, "tokenizer"), "tokenizer", "qwen_tokenizer", HUB_REPOSITORY
        )
        self._device = device
        self._model: nn.Module | None
        self._model, self._layers = load_qwen(path, dtype)
        self.tokens = min(self._tokenizer.model_max_length, _TOKENS)
        weights = fingerprint(model_folder(path, "text_encoder"))
        self.fingerprint = digest(weights, marks, str(self.tokens))

    @torch.no_grad()
    def encode(self, text: str) -> dict[str, Tensor]:
        """States [tokens, 3 widths], padding too, as FLUX.2 was trained. Raises RuntimeError after `release`."""
        if self._model is None:
            raise RuntimeError("The text encoder has been released; open it again for further texts.")
        model = self._model.to(self._device)
        found = self._tokenizer(
            _TURN.format(text),
            padding="max_length",
            padding_side="right",
            max_length=self.tokens,
            truncation=True,
            return_tensors="pt",
        )
        device = next(model.parameters()).device
        inputs = {name: found[name].to(device) for name in ("input_ids", "attention_mask")}
        states = model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
        joined = torch.cat([states[layer][0] for layer in self._layers], dim=-1)
        return {"states": joined.float().cpu()}

    def release(self) -> None:
        """Gives the model's memory back; no text is read any more."""
        self._model = None


def load_qwen(
    path: Path, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> "tuple[Qwen3Model, tuple[int, int, int]]":
    """Frozen layers of Qwen3, as far as they are read, and the numbers of the states that are: 9, 18 and 27 of 36.

    Sizes are read off the tensors. Raises FileNotFoundError, or ValueError for what is no Qwen3.
    """
    from transformers import Qwen3Model

    state = _state(Path(path), dtype)
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    read = (layers // 4, layers // 2, 3 * layers // 4)
    with torch.device("meta"):  # random weights for four billion parameters would take minutes
        model = Qwen3Model(_configuration(state, read[-1]))
    # The last state that is read comes before the norm at the end. The rotary frequencies are in no file.
    model.norm = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    model.rotary_emb = type(model.rotary_emb)(model.config)
    kept = {name: value for name, value in state.items() if name in model.state_dict()}
    missing = [name for name in model.state_dict() if name not in kept]
    if missing:
        raise ValueError(f"{Path(path).name} is not complete: {', '.join(missing[:4])} is missing.")
    model.load_state_dict(kept, assign=True)
    nn.Module.to(model, device)  # in place; transformers wraps its own `to`, which loses its type
    return model.train(False).requires_grad_(False), read


def _configuration(state: Mapping[str, Tensor], layers: int):  # noqa: ANN202  transformers' Qwen3Config
    from transformers import Qwen3Config

    head = state[_FIRST].shape[0]
    vocabulary, width = state["embed_tokens.weight"].shape
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=state["layers.0.mlp.gate_proj.weight"].shape[0],
        num_hidden_layers=layers,
        num_attention_heads=state["layers.0.self_attn.q_proj.weight"].shape[0] // head,
        num_key_value_heads=state["layers.0.self_attn.k_proj.weight"].shape[0] // head,
        head_dim=head,
        rms_norm_eps=_EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": _THETA},
        **_OF_TRANSFORMERS_4,
    )


def _state(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The language model's tensors without what a bundled file puts before their names, scaled fp8 multiplied back."""
    folder = model_folder(path, "text_encoder")
    tensors = open_tensors(folder)
    first = next((key for key in tensors if key.endswith(_FIRST)), None)
    if first is None:
        raise ValueError(
            f"{path.name} is no Qwen3: layers.0.self_attn.q_norm.weight is missing. FLUX.2 klein's texts are read by "
            "Qwen3-4B (4B) or Qwen3-8B (9B); the file you load with Load CLIP. FLUX.2 dev's Mistral is not supported."
        )
    prefix = first.removesuffix(_FIRST)
    named = {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
    keys = {name: key for name, key in named.items() if name.startswith(_PARTS)}
    return {name: tensor.to(dtype) for name, tensor in dequantize_scaled(path, tensors, keys)}
