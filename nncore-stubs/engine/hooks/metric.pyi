from nncore_compat.hooks.metric import *
