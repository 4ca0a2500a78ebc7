from nncore_compat.builder import *
