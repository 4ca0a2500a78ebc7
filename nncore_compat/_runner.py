"""Run a script or a module as Python itself would."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pkgutil import get_importer
from types import ModuleType, TracebackType

# Private, but it is what the interpreter itself calls for `-m`, folders and archives.
_run_module_as_main = runpy._run_module_as_main  # type: ignore[attr-defined]

# What stands between the interpreter and the user's first frame.
_MACHINERY = {
    __name__,
    'runpy',
    'zipimport',
    'importlib._bootstrap',
    'importlib._bootstrap_external',
}


def run_script(script: str, args: Sequence[str]) -> None:
    """Do what `python script args...` does, up to the end of the script.

    Args:
        script: A file, or a folder or zip archive with a `__main__.py`.
        args: The script's own arguments.

    Raises:
        SystemExit: The script asked for it, or cannot be read (exit code 2).
    """
    sys.argv[:] = [script, *args]
    # Python joins the two as they are: neither symlinks nor dots are resolved in `__file__`.
    file = os.path.join(os.getcwd(), script)
    if get_importer(file) is not None:
        _set_first(file, insert=_safe_path())
        _as_main(lambda _: _run_module_as_main('__main__', alter_argv=False))
        return
    try:
        with io.open_code(file) as stream:
            source = stream.read()
    except OSError as error:
        print(
            f"{sys.executable}: can't open file {file!r}: [Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        sys.exit(2)
    if not _safe_path():
        _set_first(os.path.dirname(os.path.realpath(file)))
    loader = SourceFileLoader('__main__', file)

    def run(namespace: dict[str, object]) -> None:
        namespace.update(__file__=file, __loader__=loader, __cached__=None)
        exec(loader.source_to_code(source, file), namespace)

    _as_main(run)


def run_module(module: str, args: Sequence[str]) -> None:
    """Do what `python -m module args...` does, up to the end of the module.

    Args:
        module: Dotted name of a module, or of a package with a `__main__` module.
        args: The module's own arguments.

    Raises:
        SystemExit: The module asked for it, or cannot be found (exit code 1).
    """
    sys.argv[:] = ['-m', *args]
    if not _safe_path():
        _set_first(os.getcwd())
    _as_main(lambda _: _run_module_as_main(module))


def _safe_path() -> bool:
    """Python was told to put no folder first on sys.path (-P or -I; 3.10 has only -I)."""
    return bool(getattr(sys.flags, 'safe_path', sys.flags.isolated))


def _set_first(path: str, insert: bool = False) -> None:
    sys.path[: 0 if insert else 1] = [path]


def _as_main(run: Callable[[dict[str, object]], object]) -> None:
    annotated = '__annotations__' in vars(sys.modules['__main__'])
    main = sys.modules['__main__'] = ModuleType('__main__')
    namespace = vars(main)
    namespace['__builtins__'] = builtins
    if annotated:
        namespace['__annotations__'] = {}
    try:
        run(namespace)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_runner(error)
        # Raised on, so that the interpreter ends as it would: the exit code, or death by SIGINT.
        raise


def _hide_runner(error: BaseException) -> None:
    """Have the interpreter report `error` from the user's first frame on."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get('__name__') in _MACHINERY:
        trace = trace.tb_next
    hook = sys.excepthook

    def excepthook(
        kind: type[BaseException], value: BaseException, _: TracebackType | None
    ) -> None:
        sys.excepthook = hook
        sys.last_traceback = trace
        hook(kind, value.with_traceback(trace), trace)

    sys.excepthook = excepthook
