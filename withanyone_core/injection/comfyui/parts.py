"""An adapter file as ComfyUI sees it: each part a module in a ModelPatcher, so that ComfyUI decides where it lives."""

from collections.abc import Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
from torch import Tensor, nn

from ...adapter.attention import IdentityAttention
from ...adapter.checkpoint import AdapterFile, Part, inspect_adapter, part_keys, read_part
from ...adapter.encoder import IdentityEncoder
from ...adapter.face_model import check_face_model
from ...adapter.learned import check_learned, learned_tokens
from ...adapter.lora import AdapterLora
from ...adapter.shape import Branch
from ...identity import Identity

FP8 = torch.float8_e4m3fn
_MODULES: Mapping[Part, type[nn.Module]] = {"encoder": IdentityEncoder, "attention": IdentityAttention}


class ComfyAdapter:
    """A checked adapter file, and the parts of it that were needed so far.

    The identity encoder works once per person, here; the identity attention is handed to the sampler. What was made for
    a person is kept on the CPU for as long as that `Identity` lives, whatever box, weight or slider it is used with.
    """

    def __init__(self, file: AdapterFile, fp8: bool = False) -> None:
        self.file = file
        self.fp8 = fp8
        self.loras: tuple[AdapterLora, ...] = ()
        self._without_last_lora: ComfyAdapter | None = None
        self._patchers: dict[tuple[Branch, Part], comfy.model_patcher.ModelPatcher] = {}
        self._keys_values: WeakKeyDictionary[Identity, dict[Branch, Tensor]] = WeakKeyDictionary()

    @classmethod
    def open(cls, path: Path, fp8: bool = False) -> "ComfyAdapter":
        return cls(inspect_adapter(path), fp8)

    def with_lora(self, lora: AdapterLora) -> "ComfyAdapter":
        """This adapter with a LoRA added; parts that the LoRA leaves alone are shared."""
        changed = ComfyAdapter(self.file, self.fp8)
        changed.loras = (*self.loras, lora)
        changed._without_last_lora = self
        return changed

    def part(self, branch: Branch, part: Part) -> comfy.model_patcher.ModelPatcher:
        """The patcher of a part, read from the file when first asked for."""
        if self._is_shared(branch, part):
            return self._without_last_lora.part(branch, part)
        if (branch, part) not in self._patchers:
            self._patchers[branch, part] = load_part(self.file, branch, part, self.fp8, self.loras)
        return self._patchers[branch, part]

    def keys_values(self, branch: Branch, identity: Identity) -> Tensor:
        """Keys and values of a person on the CPU, [layers, 2, heads, tokens, 64]."""
        if self._is_shared(branch, "encoder"):
            return self._without_last_lora.keys_values(branch, identity)
        made = self._keys_values.setdefault(identity, {})
        if branch not in made:
            self._check(branch, identity)
            made[branch] = self._encode(branch, identity)
        return made[branch]

    def _is_shared(self, branch: Branch, part: Part) -> bool:
        return bool(self.loras) and not self.loras[-1].changes(part_keys(self.file, branch, part))

    def _encode(self, branch: Branch, identity: Identity) -> Tensor:
        patcher = self.part(branch, "encoder")
        comfy.model_management.load_model_gpu(patcher)
        inputs = (identity.arcface, identity.siglip if branch is Branch.SIG else None, learned_tokens(branch, identity))
        batch = [None if value is None else value[None].to(patcher.load_device, torch.float32) for value in inputs]
        # Made in float32 because it is done once; kept in the width of the weights, which is what sampling runs in.
        with torch.no_grad():
            keys_values = patcher.model(*batch)[:, 0]
        if not keys_values.isfinite().all():
            raise ValueError(
                f"The keys and values made for “{identity.name}” are not finite. Its embeddings or the adapter file "
                f"{self.file.path.name} are damaged; make the identity again from another photo or reload the adapter."
            )
        return keys_values.to("cpu", self.file.dtype)

    def _check(self, branch: Branch, identity: Identity) -> None:
        shape = self.file.shapes[branch]
        if identity.arcface.shape != (shape.embedding,):
            raise ValueError(
                f"“{identity.name}” carries a face vector of shape {list(identity.arcface.shape)}; "
                f"{self.file.path.name} was trained on vectors of {shape.embedding} numbers. "
                "Make the identity with the antelopev2 face pack."
            )
        check_face_model(identity, self.file)
        check_learned(identity, self.file, branch)
        if branch is not Branch.SIG or learned_tokens(branch, identity) is not None:
            return
        if identity.siglip is None:
            raise ValueError(
                f"“{identity.name}” has no SigLIP tokens, which the adapter's sig branch needs. Connect Load SigLIP to "
                "its Identity from Photos, or turn that branch off (resemblance 0, or siglip_weight 0)."
            )
        if identity.siglip.shape[-1] != shape.siglip_width:
            raise ValueError(
                f"“{identity.name}” carries SigLIP tokens of width {identity.siglip.shape[-1]}; {self.file.path.name} "
                f"expects {shape.siglip_width}. Load the SigLIP base patch16-256 tower in Load SigLIP."
            )


def load_part(
    file: AdapterFile,
    branch: Branch,
    part: Part,
    fp8: bool = False,
    loras: tuple[AdapterLora, ...] = (),
    disable_dynamic: bool = False,
) -> comfy.model_patcher.ModelPatcher:
    """Reads one part of one branch into a module of ComfyUI's casting layers, in a patcher of its own.

    `disable_dynamic` is how newer ComfyUI asks for a patcher without its dynamic memory.
    """
    tensors = read_part(file, branch, part, loras)
    if fp8:
        tensors = {name: _to_fp8(tensor) for name, tensor in tensors.items()}
    with torch.device("meta"):
        module = _MODULES[part](file.shapes[branch], comfy.ops.manual_cast)
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False)
    # ComfyUI >= 0.16 swaps in a dynamic patcher; a plain one beside it would switch dynamic memory off for all.
    plain = comfy.model_patcher.ModelPatcher
    patcher_class = plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)
    patcher = patcher_class(
        module,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    if hasattr(patcher, "cached_patcher_init"):  # ComfyUI >= 0.23 makes a copy for every further GPU by this factory
        patcher.cached_patcher_init = (load_part, (file, branch, part, fp8, loras))
    return patcher


def _to_fp8(tensor: Tensor) -> Tensor:
    """Matrices only: norms and biases are small and sensitive."""
    if tensor.ndim < 2:
        return tensor
    limit = torch.finfo(FP8).max
    return tensor.clamp(-limit, limit).to(FP8)
