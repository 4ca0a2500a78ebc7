"""Makes a process that has this folder on its path start faster.

Lightning imports SciPy, and torchmetrics Matplotlib, where they are installed: here they are for
examples and plots alone, and hidden. And while thousands of modules are imported, the collector
goes through all of them again and again.
"""

import gc
import sys
from importlib.machinery import PathFinder

METRICS = 'torchmetrics.utilities.imports'
find_distributions = PathFinder.find_distributions


def hiding(*args):
    return () if args and args[0].name == 'scipy' else find_distributions(*args)


class WithoutMatplotlib:
    """Finds the module that tells torchmetrics what there is."""

    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name == METRICS else None
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                module._MATPLOTLIB_AVAILABLE = False

            spec.loader.exec_module = exec_module
        return spec


PathFinder.find_distributions = hiding
sys.modules['scipy'] = None
sys.meta_path.insert(0, WithoutMatplotlib())
gc.set_threshold(50_000, 20, 20)
