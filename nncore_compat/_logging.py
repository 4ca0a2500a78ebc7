"""Loggers that look like nncore's, and that share its handlers where it is imported."""

import logging
import os
import shutil
import sys
from collections.abc import Callable

from . import _console
from ._nncore import loaded
from .comm import is_main_process

_PREFIX = '[%(asctime)s %(levelname)s]: '
_DATE = '%Y-%m-%d %H:%M:%S'
_COLORS = {
    logging.DEBUG: 36,
    logging.INFO: 32,
    logging.WARNING: 33,
    logging.ERROR: 31,
    logging.CRITICAL: 35,
}

_known: list[logging.Logger] = []


def _coloured(text: str, level: int) -> str:
    env = os.environ
    if env.get('ANSI_COLORS_DISABLED') or env.get('NO_COLOR'):
        return text
    if not env.get('FORCE_COLOR') and (env.get('TERM') == 'dumb' or not sys.stdout.isatty()):
        return text
    return f'\033[{_COLORS.get(level, 97)}m{text}\033[0m'


class _ConsoleFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return _coloured(_PREFIX % vars(record), record.levelno) + record.message


def _set_up(logger: logging.Logger) -> None:
    _known.append(logger)
    logger.propagate = False
    logger.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(_ConsoleFormatter(_PREFIX + '%(message)s', _DATE))
    logger.addHandler(console)


def _writes_file(logger: logging.Logger) -> bool:
    return any(
        isinstance(handler, logging.FileHandler) and handler.baseFilename != os.devnull
        for handler in logger.handlers
    )


def get_logger(
    logger: logging.Logger | str | None = None,
    log_file: str | Callable[[], str] | None = None,
    late: bool = True,
) -> logging.Logger:
    """Return a logger that writes to standard output, and to a file in the main process.

    Args:
        logger: A logger, which is returned as it is; a name; or None for the root logger.
        log_file: The file to write to, unless the logger already writes to one; or a function
            that makes a new one when it is needed.
        late: Whether a logger that has been set up without a file is still given one.

    Returns:
        The logger.
    """
    if isinstance(logger, logging.Logger):
        return logger
    found = logging.getLogger(logger)
    real = loaded('nncore.utils.logging', 'get_logger')
    first = found not in [*_known, *(loaded('nncore.utils.logging', '_CACHED_LOGGERS') or ())]
    if first and real is None:
        _set_up(found)
    elif first and real is not None:
        real(logger)
        if not is_main_process():
            found.setLevel(logging.ERROR)
    if log_file is not None and is_main_process() and (first or (late and not _writes_file(found))):
        if callable(log_file):
            _write_to(found, log_file(), 'a')
        else:
            _write_to(found, log_file, 'w')
    if found in _known or real is not None:
        # Set up here or by nncore, not by the script.
        _console.guard(found)
    return found


def reopen(logger: logging.Logger, log_file: str) -> None:
    """Have a logger write in a process that is a copy of the one where it was set up.

    Args:
        logger: The logger, which may have lost its handlers.
        log_file: The file to go on with, in the main process.
    """
    if logger.handlers:  # A fork has them.
        logger.setLevel(logger.level if is_main_process() else logging.ERROR)
        return
    _set_up(logger)
    if is_main_process():
        _write_to(logger, log_file, 'a')
    _console.guard(logger)


def file_handler(logger: logging.Logger, log_file: str) -> logging.FileHandler | None:
    """Return the handler that writes a logger's lines to a file, if there is one."""
    path = os.path.abspath(os.path.expanduser(log_file))
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.baseFilename == path:
            return handler
    return None


def go_on_in(logger: logging.Logger, log_file: str, earlier: str) -> None:
    """Have a logger go on in the file of an earlier run instead of the one that it writes to.

    Args:
        logger: The logger.
        log_file: The file that it writes to. Its lines move to the earlier one.
        earlier: The file to go on with.
    """
    handler = file_handler(logger, log_file)
    if handler is None:
        return
    logger.removeHandler(handler)
    handler.close()
    if os.path.exists(handler.baseFilename):
        with open(handler.baseFilename, 'rb') as begun, open(earlier, 'ab') as file:
            shutil.copyfileobj(begun, file)
        os.remove(handler.baseFilename)
    _write_to(logger, earlier, 'a')
    _console.guard(logger)


def _write_to(logger: logging.Logger, log_file: str, mode: str) -> None:
    log_file = os.path.abspath(os.path.expanduser(log_file))
    os.makedirs(os.path.dirname(log_file), exist_ok=True)
    handler = logging.FileHandler(log_file, mode, 'utf-8', errors='backslashreplace')
    handler.setFormatter(logging.Formatter(_PREFIX + '%(message)s', _DATE))
    logger.addHandler(handler)


def log(
    msg: str, logger: logging.Logger | str | None = None, log_level: int | str = logging.INFO
) -> None:
    """Log a message; without a logger use the first one that was set up, else print.

    Args:
        msg: The message.
        logger: A logger, its name, or None.
        log_level: A level of ``logging`` or its name.
    """
    level = logging.getLevelName(log_level) if isinstance(log_level, str) else log_level
    if logger is None:
        default = loaded('nncore.utils.logging', '_DEFAULT_LOGGER')
        logger = default or (_known[0] if _known else None)
    if logger is not None:
        get_logger(logger).log(level, msg)
    elif level > logging.INFO:
        print(_coloured(logging.getLevelName(level) + ':', level), msg)
    else:
        print(msg)
