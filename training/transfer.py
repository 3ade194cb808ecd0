"""`python training/transfer.py ADAPTER --base FILE --out FILE`

Makes the start of an adapter for another base model of the same width, from an adapter that is trained already.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from withanyone_core.command import packages_needed, run_command

if TYPE_CHECKING:
    from training.base.family import Architecture
    from withanyone_core.adapter.checkpoint import AdapterFile
    from withanyone_core.base_models.base_model import Size


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a written file, 2 for anything given wrongly, 130 where it was interrupted."""
    return run_command("transfer", _parser(), _run, arguments, lambda options: options.adapter is None)


def _run(options: argparse.Namespace) -> int:
    for name in ("base", "out"):
        if getattr(options, name) is None:
            raise ValueError(f"--{name} is missing; `python training/transfer.py` alone says what it is.")
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out is {options.out.name}; expected a name that ends in .safetensors.")
    with packages_needed("Reading a base model"):
        from training.base.transformer import read_architecture
    from training.report.result import write_result
    from withanyone_core.adapter.base import METADATA_KEY
    from withanyone_core.adapter.checkpoint import inspect_adapter
    from withanyone_core.adapter.face_model import METADATA_KEY as FACE_MODEL
    from withanyone_core.adapter.face_model import face_model_of
    from withanyone_core.adapter.transfer import layer_map, transferred

    file, target = inspect_adapter(options.adapter), read_architecture(options.base)
    source = _source_size(file, None if options.source is None else read_architecture(options.source))
    size = _size(target)
    tensors = transferred(file, source, size)
    header = {
        "format": "pt",
        METADATA_KEY: target.family.model.name,
        FACE_MODEL: face_model_of(file),
        "withanyone.transferred_from": file.path.name,
        "withanyone.transferred_layers": " ".join(map(str, layer_map(source, size))),
    }
    sys.stdout.write(f"{write_result(options.out, tensors, header)}\n")
    return 0


def _source_size(file: "AdapterFile", given: "Architecture | None") -> "Size":
    """Of the base model that the adapter was trained on: a file's, or that of the published model it is for."""
    from withanyone_core.adapter.base import base_of

    if given is not None:
        return _size(given)
    base, shape = base_of(file), next(iter(file.shapes.values()))
    names = () if base is None else base.named(shape.layers, shape.hidden)
    if base is None or not names:
        raise ValueError(
            f"{file.path.name} has {shape.layers} layers of width {shape.hidden}, as no published model, so nothing "
            "says how many belong to double blocks. Name the base model it was trained on: --from FILE."
        )
    return base.sizes[names[0]]


def _size(architecture: "Architecture") -> "Size":
    import torch

    from withanyone_core.base_models.base_model import Size

    # Made and counted: a folder's configuration leaves out what is the class's default.
    with torch.device("meta"):
        model = architecture.make()
    return Size(len(model.transformer_blocks), len(model.single_transformer_blocks), model.inner_dim)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/transfer.py",
        description="Writes an adapter for another base model of the same width (FLUX.1-dev and FLUX.2-klein-4B have "
        "3072), to be named as adapter.init: each of its layers starts as the layer of the block at the same depth. "
        "It knows faces and tokens already, and has still to learn where in the new model they belong.",
    )
    add = parser.add_argument
    add("adapter", nargs="?", type=Path, metavar="ADAPTER", help="such as withanyone.safetensors")
    add("--base", type=Path, metavar="FILE", help="the new base model's transformer, a file or a diffusers folder")
    add("--from", dest="source", type=Path, metavar="FILE", help="the old one's, where its size is no published one")
    add("--out", type=Path, metavar="FILE", help="the .safetensors file to write")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
