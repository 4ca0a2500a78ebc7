from nncore_compat.hooks.precise_bn import *
