from nncore_compat.hooks.checkpoint import *
