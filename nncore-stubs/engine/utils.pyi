from nncore_compat.utils import *
