"""An adapter file as ComfyUI sees it: each part a module in a ModelPatcher, so that ComfyUI decides where it lives."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from torch import Tensor, nn

from ...adapter.attention import IdentityAttention
from ...adapter.checkpoint import AdapterFile, inspect_adapter, name_unknown, part_keys, read_part
from ...adapter.encoder import IdentityEncoder
from ...adapter.face_model import check_face_model
from ...adapter.keys import Part
from ...adapter.learned import check_learned, learned_tokens
from ...adapter.lora import AdapterLora
from ...adapter.shape import Branch
from ...files.tensors import is_finite
from ...identity import Identity
from .fp8 import Operations, quantized, set_scales
from .patches import add_lora

_MODULES: Mapping[Part, type[nn.Module]] = {"encoder": IdentityEncoder, "attention": IdentityAttention}


class ComfyAdapter:
    """A checked adapter file, and the parts of it that were needed so far.

    The identity encoder works once per person, here, and is let go afterwards; the identity attention is handed to the
    sampler. What was made for a person is kept on the CPU for as long as that `Identity` lives, whatever box, weight or
    slider it is used with.
    """

    def __init__(self, file: AdapterFile, fp8: bool = False) -> None:
        self.file = file
        self.fp8 = fp8
        self.loras: tuple[AdapterLora, ...] = ()
        self._without_last_lora: ComfyAdapter | None = None
        self._attentions: dict[tuple[Branch, torch.device], comfy.model_patcher.ModelPatcher] = {}
        self._apart: dict[tuple[Branch, torch.device], comfy.model_patcher.ModelPatcher] = {}
        self._keys_values: WeakKeyDictionary[Identity, dict[Branch, Tensor]] = WeakKeyDictionary()

    @classmethod
    def open(cls, path: Path, fp8: bool = False) -> "ComfyAdapter":
        file = inspect_adapter(path)
        name_unknown(file)
        return cls(file, fp8)

    def with_lora(self, lora: AdapterLora) -> "ComfyAdapter":
        """This adapter with a LoRA added; weights are shared, and what it leaves alone altogether."""
        changed = ComfyAdapter(self.file, self.fp8)
        changed.loras = (*self.loras, lora)
        changed._without_last_lora = self
        return changed

    def part(self, branch: Branch, part: Part, device: torch.device | None = None) -> comfy.model_patcher.ModelPatcher:
        """The patcher of a part for a device, ComfyUI's own where none is given.

        An attention is read once and kept, an encoder is read anew.
        """
        device = device or comfy.model_management.get_torch_device()
        if self._is_shared(branch, part):
            return self._without_last_lora.part(branch, part, device)
        if part == "encoder":
            return self._patcher(branch, part, device)
        if (branch, device) not in self._attentions:
            self._attentions[branch, device] = self._patcher(branch, part, device)
        return self._attentions[branch, device]

    def attention_apart(self, branch: Branch, device: torch.device | None = None) -> comfy.model_patcher.ModelPatcher:
        """The attention with weights of its own: one module cannot hold the patches of two at the same time."""
        device = device or comfy.model_management.get_torch_device()
        if (branch, device) not in self._apart:
            patcher = load_part(self.file, branch, "attention", self.fp8, device=device)
            for lora in self.loras:
                add_lora(patcher, lora, part_keys(self.file, branch, "attention"))
            self._apart[branch, device] = patcher
        return self._apart[branch, device]

    def keys_values(self, branch: Branch, identity: Identity, device: torch.device | None = None) -> Tensor:
        """Keys and values of a person on the CPU, [layers, 2, heads, tokens, 64], made on the device."""
        return self.all_keys_values(branch, [identity], device)[0]

    def all_keys_values(
        self, branch: Branch, identities: Sequence[Identity], device: torch.device | None = None
    ) -> list[Tensor]:
        """Those of several people, which one encoder makes where they are missing."""
        if self._is_shared(branch, "encoder"):
            return self._without_last_lora.all_keys_values(branch, identities, device)
        missing = [who for who in dict.fromkeys(identities) if branch not in self._keys_values.get(who, {})]
        for identity in missing:
            self._check(branch, identity)
        if missing:
            self._encode(branch, missing, device)
        return [self._keys_values[who][branch] for who in identities]

    def _is_shared(self, branch: Branch, part: Part) -> bool:
        return bool(self.loras) and not self.loras[-1].changes(part_keys(self.file, branch, part).values())

    def _patcher(self, branch: Branch, part: Part, device: torch.device) -> comfy.model_patcher.ModelPatcher:
        if not self.loras:
            return load_part(self.file, branch, part, self.fp8, device=device)
        self._refuse_overflow(branch, part)
        patcher = self._without_last_lora.part(branch, part, device).clone()
        add_lora(patcher, self.loras[-1], part_keys(self.file, branch, part))
        return patcher

    def _refuse_overflow(self, branch: Branch, part: Part) -> None:
        """AdapterFileError where a weight with the LoRAs added is too large for its type.

        ComfyUI adds them later and would not notice. They are added here for a look only where that is possible at all.
        """
        keys = part_keys(self.file, branch, part).values()
        if sum(lora.largest_change(keys) for lora in self.loras) > torch.finfo(self.file.dtype).max / 2:
            read_part(self.file, branch, part, self.loras)

    def _encode(self, branch: Branch, identities: Sequence[Identity], device: torch.device | None) -> None:
        patcher = self.part(branch, "encoder", device)
        comfy.model_management.load_model_gpu(patcher)
        for identity in identities:
            made = self._keys_values.setdefault(identity, {})
            made[branch] = self._encoded(patcher, branch, identity)

    def _encoded(self, patcher: comfy.model_patcher.ModelPatcher, branch: Branch, identity: Identity) -> Tensor:
        inputs = (identity.arcface, identity.siglip if branch is Branch.SIG else None, learned_tokens(branch, identity))
        batch = [None if value is None else value[None].to(patcher.load_device, torch.float32) for value in inputs]
        # Made in float32 because it is done once; kept in the width of the weights, which is what sampling runs in.
        with torch.no_grad():
            keys_values = patcher.model(*batch)[:, 0]
        if not is_finite(keys_values):
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
    disable_dynamic: bool = False,
    device: torch.device | None = None,
) -> comfy.model_patcher.ModelPatcher:
    """Reads one part of one branch into a module of ComfyUI's casting layers, in a patcher of its own.

    The weights are the file's own pages, as ComfyUI's are, unless the user switched that off. `fp8` is for the
    attention: the encoder works once, and rounding it would gain nothing. `disable_dynamic` is how newer ComfyUI asks
    for a patcher without its dynamic memory. `device` is where it works, ComfyUI's own where none is given.
    """
    device = device or comfy.model_management.get_torch_device()
    tensors, scales = read_part(file, branch, part, mapped=not comfy.utils.DISABLE_MMAP), {}
    operations = comfy.ops.manual_cast
    if fp8 and part == "attention":
        tensors, scales = quantized(tensors)
        operations = Operations
    with torch.device("meta"):
        module = _MODULES[part](file.shapes[branch], operations)
    module.load_state_dict(tensors, assign=True)
    set_scales(module, scales)
    module.train(False).requires_grad_(False)
    # ComfyUI >= 0.16 swaps in a dynamic patcher; a plain one beside it would switch dynamic memory off for all.
    plain = comfy.model_patcher.ModelPatcher
    patcher_class = plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)
    patcher = patcher_class(
        module,
        load_device=device,
        offload_device=comfy.model_management.unet_offload_device(),
    )
    if hasattr(patcher, "cached_patcher_init"):  # ComfyUI >= 0.23 makes a copy for every further GPU by this factory
        patcher.cached_patcher_init = (load_part, (file, branch, part, fp8))
    return patcher
