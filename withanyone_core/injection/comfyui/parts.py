"""An adapter file as ComfyUI sees it: each part a module in a ModelPatcher, so that ComfyUI decides where it lives."""

from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from torch import Tensor, nn

from ...adapter.checkpoint import AdapterFile, inspect_adapter, name_unknown, part_keys, read_part
from ...adapter.encoder import IdentityEncoder
from ...adapter.face_model import check_face_model
from ...adapter.keys import Part
from ...adapter.learned import check_learned, learned_tokens
from ...adapter.lora import AdapterLora
from ...adapter.shape import Branch, BranchShape
from ...adapter.stacked import StackedAttention, by_layers, fold, norms_of
from ...files.tensors import is_finite
from ...identity import Identity
from .fp8 import Operations, quantized, set_scales
from .lean import LeanOperations
from .memory import encoding_bytes
from .patches import add_attention_lora, add_lora

Branches = tuple[Branch, ...]  # that work together in one Apply, in the order of `Branch`


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
        self._attentions: dict[tuple[Branches, torch.device], comfy.model_patcher.ModelPatcher] = {}
        self._apart: dict[tuple[Branches, torch.device], comfy.model_patcher.ModelPatcher] = {}
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

    def encoder(self, branch: Branch, device: torch.device | None = None) -> comfy.model_patcher.ModelPatcher:
        """The encoder of a branch, read again, for a device, ComfyUI's own where none is given."""
        if shared := self._shared((branch,), "encoder"):
            return shared.encoder(branch, device)
        if self._without_last_lora is None:
            return load_encoder(self.file, branch, device=device)
        self._refuse_overflow((branch,), "encoder")
        # A clone shares the module; the patches are its own.
        patcher = self._without_last_lora.encoder(branch, device).clone()
        add_lora(patcher, self.loras[-1], part_keys(self.file, branch, "encoder"))
        return patcher

    def attention(self, branches: Branches, device: torch.device | None = None) -> comfy.model_patcher.ModelPatcher:
        """The attention of the branches that work, read once and kept, for a device, ComfyUI's own where none is given.

        One module for all of them: apart they would cost twice as many operations a step.
        """
        device = device or comfy.model_management.get_torch_device()
        if shared := self._shared(branches, "attention"):
            return shared.attention(branches, device)
        if (branches, device) not in self._attentions:
            self._attentions[branches, device] = self._attention(branches, device)
        return self._attentions[branches, device]

    def attention_apart(
        self, branches: Branches, device: torch.device | None = None
    ) -> comfy.model_patcher.ModelPatcher:
        """The attention with weights of its own: one module cannot hold the patches of two at the same time."""
        device = device or comfy.model_management.get_torch_device()
        if (branches, device) not in self._apart:
            patcher = load_attention(self.file, branches, self.fp8, device=device)
            for lora in self.loras:
                add_attention_lora(patcher, lora, self.file, branches)
            self._apart[branches, device] = patcher
        return self._apart[branches, device]

    def keys_values(self, branch: Branch, identity: Identity, device: torch.device | None = None) -> Tensor:
        """Keys and values of a person on the CPU, [layers, 2, heads, tokens, 64], made on the device."""
        return self.all_keys_values(branch, [identity], device)[0]

    def all_keys_values(
        self, branch: Branch, identities: Sequence[Identity], device: torch.device | None = None
    ) -> list[Tensor]:
        """Those of several people, which one encoder makes where they are missing."""
        if shared := self._shared((branch,), "encoder"):
            return shared.all_keys_values(branch, identities, device)
        missing = [who for who in dict.fromkeys(identities) if branch not in self._keys_values.get(who, {})]
        for identity in missing:
            self._check(branch, identity)
        if missing:
            self._encode(branch, missing, device)
        return [self._keys_values[who][branch] for who in identities]

    def _shared(self, branches: Branches, part: Part) -> "ComfyAdapter | None":
        """The adapter without the last LoRA, where that leaves this part alone."""
        keys = [key for branch in branches for key in part_keys(self.file, branch, part).values()]
        return None if self.loras and self.loras[-1].changes(keys) else self._without_last_lora

    def _attention(self, branches: Branches, device: torch.device) -> comfy.model_patcher.ModelPatcher:
        if self._without_last_lora is None:
            return load_attention(self.file, branches, self.fp8, device=device)
        self._refuse_overflow(branches, "attention")
        patcher = self._without_last_lora.attention(branches, device).clone()
        add_attention_lora(patcher, self.loras[-1], self.file, branches)
        return patcher

    def _refuse_overflow(self, branches: Branches, part: Part) -> None:
        """AdapterFileError where a weight with the LoRAs added is too large for its type.

        ComfyUI adds them later and would not notice. They are added here for a look only where that is possible at all.
        """
        for branch in branches:
            keys = part_keys(self.file, branch, part).values()
            # The other half of the type's range is left to the weights themselves.
            if sum(lora.largest_change(keys) for lora in self.loras) > torch.finfo(self.file.dtype).max / 2:
                read_part(self.file, branch, part, self.loras)

    def _encode(self, branch: Branch, identities: Sequence[Identity], device: torch.device | None) -> None:
        patcher, shape = self.encoder(branch, device), self.file.shapes[branch]
        tokens = max(_tokens(branch, shape, identity) for identity in identities)
        needed = encoding_bytes(shape, tokens, self.file.dtype)
        comfy.model_management.load_models_gpu([patcher], memory_required=needed)
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
                f"“{identity.name}” carries a face embedding of shape {list(identity.arcface.shape)}; "
                f"{self.file.path.name} was trained on embeddings of {shape.embedding} numbers. "
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


def _tokens(branch: Branch, shape: BranchShape, identity: Identity) -> int:
    """How many a person has in a branch."""
    learned = learned_tokens(branch, identity)
    if learned is not None:
        return len(learned)
    if branch is Branch.ARC or identity.siglip is None:
        return shape.arc_tokens
    return shape.arc_tokens + identity.siglip.shape[-2]


def load_encoder(
    file: AdapterFile, branch: Branch, disable_dynamic: bool = False, device: torch.device | None = None
) -> comfy.model_patcher.ModelPatcher:
    """Reads the encoder of a branch into a module of ComfyUI's casting layers, in a patcher of its own.

    The weights are the file's own pages, as ComfyUI's are, unless the user switched that off. `disable_dynamic` is how
    newer ComfyUI asks for a patcher without its dynamic memory. `device` is where it works, ComfyUI's own where none is
    given.
    """
    with torch.device("meta"):
        module = IdentityEncoder(file.shapes[branch], comfy.ops.manual_cast)
    # Assigned and not copied: the parameters are then the mapped pages of the file.
    module.load_state_dict(read_part(file, branch, "encoder", mapped=not comfy.utils.DISABLE_MMAP), assign=True)
    return _patcher(module, disable_dynamic, device, (load_encoder, (file, branch)))


def load_attention(
    file: AdapterFile,
    branches: Branches,
    fp8: bool = False,
    disable_dynamic: bool = False,
    device: torch.device | None = None,
) -> comfy.model_patcher.ModelPatcher:
    """Reads the attention of the branches that work together into one module, in a patcher of its own.

    `fp8` is for it alone: the encoder works once, and rounding it would gain nothing. The rest as in `load_encoder`.
    """
    parts = [read_part(file, branch, "attention", mapped=not comfy.utils.DISABLE_MMAP) for branch in branches]
    tensors, scales = fold(parts), {}
    operations = LeanOperations
    if fp8:
        tensors, scales = quantized(tensors)
        operations = Operations
    with torch.device("meta"):
        module = StackedAttention([file.shapes[branch] for branch in branches], operations)
    module.load_state_dict(tensors, assign=True)
    set_scales(module, scales)
    for layer, states in zip(module, by_layers(parts), strict=True):
        layer.norms = norms_of(states)
    return _patcher(module, disable_dynamic, device, (load_attention, (file, branches, fp8)))


def _patcher(
    module: nn.Module, disable_dynamic: bool, device: torch.device | None, factory: tuple[Callable, tuple]
) -> comfy.model_patcher.ModelPatcher:
    module.train(False).requires_grad_(False)
    # ComfyUI >= 0.16 swaps in a dynamic patcher; a plain one beside it would switch dynamic memory off for all.
    plain = comfy.model_patcher.ModelPatcher
    patcher_class = plain if disable_dynamic else getattr(comfy.model_patcher, "CoreModelPatcher", plain)
    patcher = patcher_class(
        module,
        load_device=device or comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    if hasattr(patcher, "cached_patcher_init"):  # ComfyUI >= 0.23 makes a copy for every further GPU by this factory
        patcher.cached_patcher_init = factory  # pyright: ignore[reportAttributeAccessIssue]
    return patcher
