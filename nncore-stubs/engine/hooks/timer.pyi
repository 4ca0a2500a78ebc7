from nncore_compat.hooks.timer import *
