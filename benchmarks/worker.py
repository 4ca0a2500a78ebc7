"""One contestant in a process of its own, which does the jobs that come on stdin.

A job is a JSON line, a function of the contestant's module and a spec; its result goes back as a
line. A process lives for many rounds, so that imports are paid once. Its output goes to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import json
import os
import sys
import tempfile
import traceback
import types
from typing import Any


def stub_torchvision() -> None:
    """nncore 0.4.7 imports torchvision, and uses it for nothing that is done here."""
    with contextlib.suppress(ImportError):
        import torchvision  # noqa: F401

        return
    for name in ('torchvision', 'torchvision.models'):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        module.__version__ = '0.0'
        sys.modules[name] = module
    sys.modules['torchvision'].models = sys.modules['torchvision.models']


def load(contestant: str, name: str) -> Any:
    """A function of the contestant, by name; `module:name` where it stands elsewhere."""
    module, _, name = name.rpartition(':')
    if not module:
        engines = ('nncore', 'ours')
        module = 'contestants.' + ('engine' if contestant in engines else contestant)
    return getattr(importlib.import_module(f'benchmarks.{module}'), name)


def do(contestant: str, job: dict[str, Any]) -> Any:
    """Do one job in an empty folder."""
    home = os.getcwd()
    with tempfile.TemporaryDirectory(dir=home) as folder:
        os.chdir(folder)
        try:
            return load(contestant, job['function'])(job['spec'])
        finally:
            os.chdir(home)
            gc.collect()


def serve(contestant: str) -> None:
    """Answer jobs until stdin is closed."""
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    if contestant == 'nncore':
        stub_torchvision()
    for line in sys.stdin:
        try:
            reply = {'result': do(contestant, json.loads(line))}
        except BaseException:
            reply = {'error': traceback.format_exc()}
        replies.write(json.dumps(reply) + '\n')
        replies.flush()


if __name__ == '__main__':
    serve(sys.argv[1])
