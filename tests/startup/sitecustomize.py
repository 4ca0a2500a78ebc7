"""Makes a process that has this folder on its path start faster.

Lightning imports SciPy, which is here for an example alone, where it is installed: it is hidden.
And while thousands of modules are imported, the collector goes through all of them again and again.
"""

import gc
import sys
from importlib.machinery import PathFinder

find_distributions = PathFinder.find_distributions


def hiding(*args):
    return () if args and args[0].name == 'scipy' else find_distributions(*args)


PathFinder.find_distributions = hiding
sys.modules['scipy'] = None
gc.set_threshold(50_000, 20, 20)
