"""Binds every name of ComfyUI that the pack uses against a ComfyUI tree: python contract.py TREE.

Each dotted name has to be there, and each call of one has to fit its signature. Methods of objects that ComfyUI hands
over are found by the annotations of arguments and by METHODS. Writes JSON: {"names": how many, "faults": [words]}.
"""

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOTS = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "latent_preview"}
FILES = sorted({*(ROOT / "nodes").rglob("*.py"), *(ROOT / "withanyone_core").rglob("*.py")})
# How many positional arguments methods are called with, of objects that no annotation names.
METHODS = {
    "comfy.model_patcher.ModelPatcher": {
        "clone": 0,
        "is_clone": 1,
        "add_wrapper_with_key": 3,
        "get_wrappers": 2,
        "add_callback_with_key": 3,
        "get_additional_models_with_key": 1,
        "set_additional_models": 2,
        "model_size": 0,
        "get_nested_additional_models": 0,
    },
    "comfy.clip_vision.ClipVisionModel": {"load_sd": 1, "get_sd": 0},
    "comfy.sd.CLIP": {"load_sd": 1},
    "comfy.utils.ProgressBar": {"update": 1, "update_absolute": 3},
    "latent_preview.LatentPreviewer": {"decode_latent_to_preview_image": 2},
    "comfy.sd.VAE": {"decode": 1},
}


def add_tree(tree: Path) -> None:
    """Makes the tree's modules importable, on the CPU."""
    sys.path[:0] = [str(tree), str(ROOT / "tests")]
    from pack import make_torchvision_importable

    make_torchvision_importable()
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True


class File:
    """The names of ComfyUI in one file of the pack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.known: dict[str, str] = {}  # name in the file: dotted name in ComfyUI
        self.asked_for = set()
        for node in ast.walk(self.tree):
            self.learn(node)

    def learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr"):
            self.asked_for.add(getattr(node.args[1], "value", None))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                if first in ROOTS:
                    self.known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in ROOTS:
            for alias in node.names:
                self.known[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def may_lack(self, name: str) -> bool:
        """Whether the file asks for the name before it uses it."""
        return name.rpartition(".")[2] in self.asked_for

    def modules(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.split(".")[0] in ROOTS)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in ROOTS:
                yield node.module

    def dotted(self, node: ast.AST) -> str | None:
        """ "comfy.utils.load_torch_file" for the expression of that meaning."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.known:
            return None
        return ".".join([self.known[node.id], *reversed(parts)])

    def uses(self) -> Iterator[tuple[str, ast.Call | None]]:
        """Every dotted name, with its call where it is called."""
        called = {id(node.func): node for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        inner = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner and (name := self.dotted(node)):
                yield name, called.get(id(node))
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef):
                yield from self.methods(function)

    def methods(self, function: ast.FunctionDef) -> Iterator[tuple[str, ast.Call]]:
        """Calls of methods of arguments that are annotated with a class of ComfyUI's."""
        kinds = {argument.arg: self.dotted(argument.annotation) for argument in function.args.args}
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                kind = kinds.get(owner.id) if isinstance(owner, ast.Name) else None
                if kind and inspect.isclass(found(kind)):
                    yield f"{kind}.{node.func.attr}", node


class OfInstances:
    """Stands for what a class gives its instances in __init__."""


def found(name: str) -> Any:
    """The object of a dotted name. Raises AttributeError or ImportError where the tree has none."""
    parts = name.split(".")
    module = importlib.import_module(parts[0])
    for depth, part in enumerate(parts[1:], 2):
        if inspect.ismodule(module) and not hasattr(module, part) and hasattr(module, "__path__"):
            importlib.import_module(".".join(parts[:depth]))
        if inspect.isclass(module) and not hasattr(module, part) and f"self.{part} =" in inspect.getsource(module):
            return OfInstances()
        module = getattr(module, part)
    return module


def bind(name: str, positional: int, keywords: list[str], starred: bool) -> None:
    """Raises TypeError where a call of this shape does not fit."""
    thing = found(name)
    if isinstance(thing, OfInstances):
        return
    signature = inspect.signature(thing)
    owner = found(name.rpartition(".")[0])
    is_method = inspect.isclass(owner) and inspect.isfunction(inspect.getattr_static(owner, name.rpartition(".")[2]))
    arguments = [None] * (positional + is_method)
    (signature.bind_partial if starred else signature.bind)(*arguments, **dict.fromkeys(keywords))


def fault(name: str, call: ast.Call | None) -> str | None:
    try:
        if call is None:
            found(name)
        else:
            plain = [argument for argument in call.args if not isinstance(argument, ast.Starred)]
            named = [word.arg for word in call.keywords if word.arg]
            starred = len(plain) < len(call.args) or len(named) < len(call.keywords)
            bind(name, len(plain), named, starred)
    except (AttributeError, ImportError) as error:
        return f"{name} is not there: {error}"
    except TypeError as error:
        return f"{name} is called in another way: {error}"
    except ValueError:  # a class of C or an enumeration has no signature
        return None
    return None


def check() -> dict[str, Any]:
    names, faults = set(), []
    for path in FILES:
        file = File(path)
        uses = [*((module, None) for module in file.modules()), *file.uses()]
        for name, call in uses:
            names.add(name)
            if not file.may_lack(name) and (words := fault(name, call)):
                faults.append(f"{path.relative_to(ROOT)}: {words}")
    for kind, methods in METHODS.items():
        for method, positional in methods.items():
            name = f"{kind}.{method}"
            names.add(name)
            try:
                bind(name, positional, [], False)
            except (AttributeError, ImportError, TypeError) as error:
                faults.append(f"{name}: {error}")
    return {"names": sorted(names), "faults": faults}


if __name__ == "__main__":
    add_tree(Path(sys.argv[1]).resolve())
    print("CONTRACT " + json.dumps(check()))
