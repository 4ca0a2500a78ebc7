from nncore_compat.buffer import *
