from nncore_compat.hooks.eval import *
