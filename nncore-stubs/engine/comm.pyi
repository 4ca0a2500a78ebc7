from nncore_compat.comm import *
