"""`%load_ext nncore_compat`: what the runner does for a script, for a notebook."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, NoReturn

from . import __main__ as runner
from . import _preview, quirks
from ._alias import ENV as ALIAS
from ._alias import install, uninstall

MAGIC = 'nncore_compat'
_PREFIX = 'NNCORE_COMPAT_'

# Settings of the environment as they were when the extension was loaded.
_before: dict[str, str] = {}


def load(ipython: Any) -> None:
    """Have `nncore.engine` be ours from now on, and the magic `%nncore_compat` be there.

    Args:
        ipython: IPython's shell.
    """
    global _before
    _before = _settings()
    late = 'nncore.engine' in sys.modules and ALIAS not in os.environ
    install()
    ipython.register_magic_function(_Magic(ipython), 'line', MAGIC)
    if late:
        _tell_of_leftovers(ipython.user_ns)


def unload(ipython: Any) -> None:
    """Undo all that the extension has done.

    Args:
        ipython: IPython's shell.
    """
    ipython.magics_manager.magics['line'].pop(MAGIC, None)
    _put_back(_before)
    uninstall()


class _Magic:
    """Run what follows as under `python -m nncore_compat OPTIONS`, or a script or module now.

    `%nncore_compat [options]` is for all engines that are launched from now on; options of an
    earlier line are forgotten. `%nncore_compat [options] script.py args` (or `-m module args`) runs
    a script as `%run` does, with options that are forgotten after it. `%nncore_compat --help` has
    them all.
    """

    def __init__(self, ipython: Any) -> None:
        self._ipython = ipython
        self.__doc__ = type(self).__doc__

    def __call__(self, line: str) -> None:
        argv = shlex.split(line, posix=os.name != 'nt')
        if argv and argv[0] in runner.COMMANDS and not os.path.exists(argv[0]):
            name, _ = runner.COMMANDS[argv[0]]
            with _without_exit():
                command = import_module(f'.{name}', __package__)
                command.main(argv[1:], f'%{MAGIC} {argv[0]}')
            return
        parser, valued = runner.options_parser(f'%{MAGIC}')
        parser.error = _usage_error  # type: ignore[method-assign]
        own, target = runner.split(argv, valued)
        with _without_exit():
            options = parser.parse_args(own)
            if target == ['-m']:
                parser.error('-m needs the name of a module')
            if options.verify is not None:
                parser.error(
                    '--verify runs a script in two processes of its own: '
                    f'!python -m nncore_compat {line}'
                )
            if options.verify is not None:
                parser.error(
                    '--verify runs a script under nncore too, in processes of its own: '
                    '!python -m nncore_compat --verify script.py'
                )
            earlier = _settings()
            _put_back(_before)
            try:
                runner.settle(parser, options)
                if target:
                    self._run(target)
            except BaseException:
                _put_back(earlier)
                raise
            if target:
                _put_back(earlier)

    def _run(self, target: Iterable[str]) -> None:
        planned = _preview.asked() == _preview.PLAN
        with _preview.in_script(), runner.to_its_plan() if planned else contextlib.nullcontext():
            # Not a glob of the arguments, which the script gets as they are.
            self._ipython.run_line_magic('run', '-G ' + ' '.join(map(_quoted, target)))


def _quoted(word: str) -> str:
    if os.name == 'nt':
        return f'"{word}"' if ' ' in word else word
    return shlex.quote(word)


def _usage_error(message: str) -> NoReturn:
    from IPython.core.error import UsageError

    raise UsageError(message)


@contextlib.contextmanager
def _without_exit() -> Iterator[None]:
    """Go back to the prompt where the runner would end the process: all has been said."""
    try:
        yield
    except SystemExit:
        return


def _settings() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith(_PREFIX) and k != ALIAS}


def _put_back(settings: dict[str, str]) -> None:
    for name in _settings():
        del os.environ[name]
    quirks.enable(settings.get(quirks.ENV, 'none'))
    del os.environ[quirks.ENV]
    os.environ.update(settings)


def _tell_of_leftovers(namespace: dict[str, Any]) -> None:
    """Say what has been taken out of a real nncore.engine before, and stays what it is."""
    here = sorted(name for name, value in namespace.items() if _is_nncores(value))
    holders = sorted(
        name
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType)
        and name.partition('.')[0] not in ('nncore', 'nncore_compat', '__main__')
        and vars(module) is not namespace
        and any(map(_is_nncores, list(vars(module).values())))
    )
    print('nncore.engine was imported before nncore_compat was loaded.', end=' ')
    if here:
        print(f'Import these again, they are still those of nncore: {", ".join(here)}.', end=' ')
    if holders:
        print(
            f'Modules that have taken something from it keep it: {", ".join(holders)}. Restart the '
            'kernel, and load nncore_compat first.',
            end=' ',
        )
    print('From now on it is ours.')


def _is_nncores(value: Any) -> bool:
    # Of nothing else: asked for an attribute, some objects warn of being out of date.
    if not issubclass(type(value), (type, FunctionType, ModuleType)):
        return False
    home = value.__name__ if isinstance(value, ModuleType) else value.__module__
    return isinstance(home, str) and f'{home}.'.startswith('nncore.engine.')
