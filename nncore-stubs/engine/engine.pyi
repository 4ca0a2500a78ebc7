from nncore_compat.engine import *
