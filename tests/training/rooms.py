"""`training`, `miniature` and `withanyone_core` under their own names, as their scripts see them.

The clone's root stays off sys.path: ComfyUI, which other tests import, has a `nodes` and a `tests` of its own.
"""

import importlib.util
import sys

from withanyone_pack.tests.pack import ROOT, make_torchvision_importable


def add_training() -> None:
    """Makes `import training...`, `import miniature...` and the absolute imports inside it work."""
    make_torchvision_importable()
    for name in ("withanyone_core", "training", "miniature"):
        folder = ROOT / name
        module = sys.modules.get(name)
        if module is None or str(folder) not in map(str, module.__path__):
            spec = importlib.util.spec_from_file_location(
                name, folder / "__init__.py", submodule_search_locations=[str(folder)]
            )
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
