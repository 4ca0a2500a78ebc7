from nncore_compat.hooks.memory import *
