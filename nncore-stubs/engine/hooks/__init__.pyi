from nncore_compat.hooks import *
