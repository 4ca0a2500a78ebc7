from nncore_compat.hooks.optimizer import *
