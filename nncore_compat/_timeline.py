"""Whether a launch shows who would be called, instead of training; child processes follow."""

import os

ENV = 'NNCORE_COMPAT_TIMELINE'


def ask() -> None:
    """Have every engine of this process and of its children show its timeline at launch."""
    os.environ[ENV] = '1'


def asked() -> bool:
    """Tell whether that was asked for."""
    return os.environ.get(ENV, '') not in ('', '0')
