"""`python training/export.py CHECKPOINT --out FILE`

Makes an adapter file, a small LoRA file or one person's identity file of a checkpoint of finetune.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from withanyone_core.command import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """0 for a written file, 2 for anything given wrongly, 130 where it was interrupted."""
    return run_command("export", _parser(), _run, arguments, lambda options: options.checkpoint is None)


def _run(options: argparse.Namespace) -> int:
    from training.configuration.reading import read_tree
    from training.loop.checkpoints import CONFIG, step_of
    from training.loop.resume import until
    from training.report.result import (
        base_of_checkpoint,
        checkpoint_numbers,
        exported,
        header_of,
        is_identity,
        is_lora,
        write_identity,
        write_result,
    )

    if options.out is None:
        raise ValueError("--out is missing: the file to write, ending in .safetensors.")
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out is {options.out.name}; expected a name that ends in .safetensors.")
    if is_identity(options.checkpoint):
        sys.stdout.write(f"{write_identity(options.out, options.checkpoint)}\n")
        return 0
    numbers = checkpoint_numbers(options.checkpoint)
    settings = read_tree(options.checkpoint / CONFIG)
    known = settings["adapter"]["init"]
    init = options.init or (Path(known) if known else None)
    tensors = exported(options.checkpoint, init, options.merged)
    step = step_of(options.checkpoint.resolve())
    progress = numbers["progress"]
    header = header_of(
        settings,
        step,
        numbers["origin"]["data"],
        progress["measured"],
        is_lora(tensors),
        until(progress.get("changes", []), step),
        base_of_checkpoint(options.checkpoint),
    )
    sys.stdout.write(f"{write_result(options.out, tensors, header)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python training/export.py",
        description="Writes what a checkpoint holds: for modes full and kv_out a whole adapter for Load WithAnyone "
        "Adapter, for mode lora a small file for Add Adapter LoRA (or, with --merged, a whole adapter), for mode "
        "tokens an identity for Load Identity.",
    )
    add = parser.add_argument
    add("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="folder such as runs/friends/ckpt-000500")
    add("--out", type=Path, metavar="FILE", help="the .safetensors file to write")
    add("--init", type=Path, metavar="FILE", help="the adapter the run started from, where it has been moved")
    add("--merged", action="store_true", help="add a LoRA to the adapter it was trained on")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
