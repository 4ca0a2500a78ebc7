from nncore_compat.hooks.writer import *
