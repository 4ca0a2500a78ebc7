from nncore_compat.hooks.closure import *
