# nncore's own registry; read without types, it seems to make every registered class unknown.

from nncore_compat._registry import Registry as Registry
from nncore_compat._registry import build_object as build_object
