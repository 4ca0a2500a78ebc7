# What editors and type checkers see as nncore.engine wherever nncore_compat is installed: the types
# and words of nncore_compat. `partial` in py.typed leaves them the rest of nncore as it is.

from nncore_compat import *
