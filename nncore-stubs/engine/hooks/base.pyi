from nncore_compat.hooks.base import *
