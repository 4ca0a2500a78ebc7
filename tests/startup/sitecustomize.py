"""Makes a process that has this folder on its path start faster.

Lightning imports SciPy and Matplotlib, of which nothing here makes use, where they are installed:
they are hidden. And while thousands of modules are imported, the collector goes through all of them
again and again.
"""

import gc
import sys
from importlib.machinery import PathFinder

HIDDEN = ('matplotlib', 'scipy')
find_distributions = PathFinder.find_distributions


def hiding(*args):
    return () if args and args[0].name in HIDDEN else find_distributions(*args)


PathFinder.find_distributions = hiding
sys.modules.update(dict.fromkeys(HIDDEN))
gc.set_threshold(50_000, 20, 20)
