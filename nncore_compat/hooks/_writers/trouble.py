"""Which errors of a service that a writer talks to are no mistakes in a script."""

from __future__ import annotations

import sys

# Errors of these kinds, and of these packages, come from wrong arguments and from bugs.
_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
_NO_SERVICES = {
    *sys.stdlib_module_names,
    __name__.partition('.')[0],
    'lightning',
    'lightning_fabric',
    'nncore',
    'numpy',
    'pytorch_lightning',
    'torch',
}
# Of wandb's: a wrong call, a missing key.
_TO_PUT_RIGHT = {'UsageError', 'AuthenticationError'}


def of_disk_or_service(error: Exception, own: str = '') -> bool:
    """Tell whether an error is one of a disk, a network, or a library's service.

    The libraries have classes of their own for it: wandb.CommError, MlflowException and so on.

    Args:
        error: The error.
        own: A package of the user's, whose errors are the user's.
    """
    if isinstance(error, OSError):
        return True
    package = type(error).__module__.partition('.')[0]
    names = {kind.__name__ for kind in type(error).__mro__}
    return not (
        package in _NO_SERVICES
        or package == own
        or isinstance(error, _MISTAKES)
        or names & _TO_PUT_RIGHT
    )
