"""Beside torch.compile: a base model compiled without people must not be taken for one with people."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import nn
from torch._dynamo import OptimizedModule

# ComfyUI's own node, and those built on its helper, put the compiled module in place only below this wrapper.
_COMPILE_KEY = "torch.compile"
_MARK = {"withanyone": True}


def compiler_mark(diffusion_model: nn.Module, options: Mapping[str, Any]) -> Mapping[str, bool]:
    """An argument for the base model that tells the compiler that there are people; none where nothing is compiled.

    Recent ComfyUI drops the compiler's guards on `transformer_options`. What was compiled without block replacements
    would then be run with them, and they would be ignored; an argument more is noticed. FLUX ignores it.
    """
    compiled_below = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {}).get(_COMPILE_KEY)
    if not compiled_below and not isinstance(diffusion_model, OptimizedModule):
        return {}
    return _MARK if _takes_any(getattr(diffusion_model, "_orig_mod", diffusion_model)) else {}


def _takes_any(diffusion_model: nn.Module) -> bool:
    parameters = signature(diffusion_model.forward).parameters.values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
