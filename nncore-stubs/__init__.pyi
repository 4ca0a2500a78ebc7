# The names of nncore itself, in nncore's own files. Without this file, where nncore is not
# installed, mypy ends with an error over nncore.engine.

from .image import *
from .io import *
from .utils import *
from .video import *

__version__: str
