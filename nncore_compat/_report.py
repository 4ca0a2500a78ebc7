"""What ran, as a JSON file: for `--report`, written anew after each launch."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from . import _options, quirks
from ._clock import HOOKS, Clock
from ._errors import said
from ._files import replacing
from ._parameters import count
from ._plain import described
from .comm import get_world_size, is_main_process
from .hooks import Hook

if TYPE_CHECKING:
    from .engine import Engine

PACKAGES = ('nncore-compat', 'nncore', 'torch', 'lightning', 'torchmetrics', 'numpy')

_launches: list[dict[str, Any]] = []


@contextlib.contextmanager
def recording(engine: Engine, eval: bool | str) -> Iterator[None]:
    """Record a launch, where a report was asked for.

    Args:
        engine: The engine that is launched.
        eval: What its `launch` was given.
    """
    path = _path()
    if path is None:
        yield
        return
    clock = engine._clock = Clock()
    saved: dict[str, dict[str, Any]] = {}
    started, begun = _now(), engine.iter
    error: BaseException | None = None
    try:
        with engine._run.watched(clock, saved), _timed(engine, clock):
            yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        engine._clock = None
        seconds = clock.by_phase()
        _launches.append(
            {
                **_what(engine, eval, started, error),
                # A resume at the launch moves the counter too.
                'iterations': 0 if eval else engine.iter - max(begun, engine.start_iter),
                **_place(engine),
                **_who(engine, clock),
                'seconds': round(sum(seconds.values()), 6),
                'seconds_by_phase': seconds,
                'checkpoints': [_file(name, where) for name, where in saved.items()],
            }
        )
        _write(path, engine)


@contextlib.contextmanager
def noting_refusal(engine: Engine, eval: bool | str) -> Iterator[None]:
    """Record a launch that comes to nothing, where a report was asked for: of the others, nothing.

    Args:
        engine: The engine that is to be launched.
        eval: What its `launch` was given.
    """
    started = _now()
    try:
        yield
    except BaseException as error:
        _note_refusal(engine, eval, started, error)
        raise


def _note_refusal(engine: Engine, eval: bool | str, started: str, error: BaseException) -> None:
    path = _path()
    if path is not None:
        # Devices and loops have had no say yet.
        nothing = {'iterations': 0, 'seconds': 0.0, 'checkpoints': []}
        _launches.append({**_what(engine, eval, started, error), **nothing})
        _write(path, engine)


@contextlib.contextmanager
def taking_over(engine: Engine, eval: bool | str) -> Iterator[None]:
    """Go on from what copies of this process record; record a launch that comes to no copy.

    Args:
        engine: The engine that copies are to launch.
        eval: What its `launch` was given.
    """
    path = _path()
    if path is None:
        yield
        return
    started, before = _now(), _identity(path)
    try:
        yield
    except BaseException as error:
        if _identity(path) == before:
            _note_refusal(engine, eval, started, error)
        raise
    finally:
        if _identity(path) not in (before, None):
            with open(path, encoding='utf-8') as file:
                go_on_from(json.load(file)['launches'])


def so_far() -> list[dict[str, Any]]:
    """Return what was recorded in this process, and in those that it takes over from."""
    return _launches


def go_on_from(launches: list[dict[str, Any]]) -> None:
    """Have the report begin with launches of another process.

    Args:
        launches: What `so_far` returned there.
    """
    _launches[:] = launches


def _path() -> str | None:
    """Return the file to write, if a report was asked for and this process is the one to write."""
    path = _options.reports_to()
    return path if path is not None and is_main_process() else None


def _identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from the one that replaces it; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _what(
    engine: Engine, eval: bool | str, started: str, error: BaseException | None
) -> dict[str, Any]:
    return {
        'work_dir': os.path.abspath(os.path.expanduser(engine.work_dir)),
        'what': f'evaluation ({eval})' if eval else 'training',
        'started': started,
        'ended': _ending(engine, error),
        'error': None if error is None else f'{type(error).__name__}: {said(error)}',
    }


def _now() -> str:
    return time.strftime('%Y-%m-%dT%H:%M:%S%z')


@contextlib.contextmanager
def _timed(engine: Engine, clock: Clock) -> Iterator[None]:
    """Have what the engine does counted, by methods of this one object."""
    forward_context = engine._forward_context

    @contextlib.contextmanager
    def timed_context() -> Iterator[None]:
        with clock.during('forward'), forward_context():
            yield

    own = vars(engine)
    own.update(
        _forward_context=timed_context,
        _backpropagate=clock.timed('backward', engine._backpropagate),
        _step_optimizer=clock.timed('step', engine._step_optimizer),
    )
    try:
        yield
    finally:
        for name in ('_forward_context', '_backpropagate', '_step_optimizer'):
            del own[name]


def _ending(engine: Engine, error: BaseException | None) -> str:
    if error is None:
        return 'stopped early' if engine._stopped else 'finished'
    if isinstance(error, KeyboardInterrupt):
        return 'interrupted'
    if isinstance(error, SystemExit):
        signals = {128 + one: f'signal {one.name}' for one in signal.Signals}
        return signals.get(error.code, f'exit {error.code}')  # type: ignore[arg-type]
    return 'failed'


def _place(engine: Engine) -> dict[str, Any]:
    trainer, device = engine.trainer, engine._model_device
    parameters, trainable = count(engine.model)
    return {
        'host': socket.gethostname(),
        'processes': get_world_size(),
        'nodes': trainer.num_nodes,
        'devices': trainer.num_devices,
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else str(device),
        'accelerator': type(trainer.accelerator).__name__,
        'strategy': type(trainer.strategy).__name__,
        'precision': type(trainer.precision_plugin).__name__,
        'amp': engine.get_amp_type(),
        'loop': engine._run.loop_taken,
        'threads': torch.get_num_threads(),
        'model': {
            'class': type(engine.model).__name__,
            'parameters': parameters,
            'trainable': trainable,
        },
        'stages': described(list(engine.stages)),
        'resumed_from': engine._resumed_from,
    }


def _who(engine: Engine, clock: Clock) -> dict[str, Any]:
    took = clock.by_name(HOOKS)
    hooks = [
        {
            'name': name,
            'class': f'{type(one).__module__}.{type(one).__qualname__}',
            'kind': 'hook' if isinstance(one, Hook) else 'callback',
            'seconds': took.get(name, 0.0),
        }
        for name, one in engine.hooks.items()
    ]
    on = [name for name in quirks.QUIRKS if quirks.active(name)]
    return {'hooks': hooks, 'quirks': {'on': on, 'met': list(engine._quirks_of_launch)}}


def _file(name: str, where: dict[str, Any]) -> dict[str, Any]:
    # Older ones may have been removed.
    size = os.path.getsize(name) if os.path.isfile(name) else None
    return {'file': name, 'bytes': size, **where}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _write(path: str, engine: Engine) -> None:
    report = {
        'command': list(sys.orig_argv),
        'python': platform.python_version(),
        'platform': platform.platform(),
        'versions': {package: _version(package) for package in PACKAGES},
        'launches': _launches,
    }
    text = json.dumps(report, indent=2, default=repr)
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        engine.logger.warning(f'the report could not be written: {error}')
    else:
        engine.logger.info(f'Wrote what ran to {path}')
