"""An error that ends a run: where it came from, who is told, and what is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import comm, quirks
from ._errors import said
from .hooks import EventWriterHook, Hook
from .hooks.base import HOOK_NAMES, method_for

if TYPE_CHECKING:
    from .engine import Engine

_WORKER = (
    'a worker process of a data loader has ended without a word: memory that ran out (the system '
    'kills it), a crash in native code, or an exit of its own. num_workers=0 shows what it does; '
    'training can be resumed from its last checkpoint'
)


def blame(engine: Any, error: Exception, hook: Any, event: str) -> None:
    """Note in an error which hook it came out of, and when.

    Args:
        engine: The engine.
        error: The error; its type and arguments stay as they are.
        hook: The hook.
        event: The event, or another of its methods.
    """
    if engine._failed_in is not None and engine._failed_in[0] is error:
        return  # Of a hook that was called by this one.
    name = hook.name if isinstance(hook, Hook) else type(hook).__name__
    what = f'{name}.{event} failed{_where(engine, event)}'
    engine._failed_in = error, hook, what
    _add_note(error, what)


def end(engine: Engine, error: BaseException) -> None:
    """Tell hooks that an error has ended the launch.

    Hooks that have had `before_launch` get `after_launch`, but for the one that has failed. Where
    that could do harm they do not, and writers alone are closed: if the run is to end at once
    (SystemExit, KeyboardInterrupt), or has other processes that do not take part.

    Args:
        engine: The engine; its `failure` is the error meanwhile.
        error: The error.
    """
    engine._failure = error
    try:
        _end(engine, error)
    finally:
        # A traceback keeps all that its frames know: workers of loaders, memory of accelerators.
        engine._failure = engine._failed_in = None
        quirks.sum_up(engine)


def _end(engine: Engine, error: BaseException) -> None:
    culprit = _tell(engine, error) if isinstance(error, Exception) else None
    silent = quirks.active('silent-failure')
    everyone = isinstance(error, Exception) and comm.get_world_size() == 1 and not silent
    told, engine._told = engine._told, ()
    # Whoever has not come to the end of before_launch may have opened writers in it.
    late = [one for one in engine.hooks.values() if isinstance(one, EventWriterHook)]
    for hook in (*told, *(one for one in late if not any(one is other for other in told))):
        writes = isinstance(hook, EventWriterHook)
        if writes or (everyone and hook is not culprit and _acts(hook)):
            if not writes:
                quirks.met('silent-failure', engine, f'{hook.name} gets after_launch')
            _close(engine, hook)


def _tell(engine: Engine, error: Exception) -> Any:
    """Say in error and log where the run has failed; return the hook that has, if one has."""
    known, hook, what = engine._failed_in or (None, None, '')
    if known is not error:
        hook, what = None, f'The run failed{_where(engine, None)}'
        _add_note(error, what)
    hint = ''
    text = said(error)
    if isinstance(error, RuntimeError) and 'DataLoader worker' in text:
        hint = f' ({_WORKER})'
        _add_note(error, _WORKER)
    if not quirks.active('silent-failure'):
        # An error of a worker has its traceback in its message, and what it says at the end.
        lines = text.strip().splitlines() or ['']
        text = lines[0] if len(lines) == 1 else f'{lines[0]} [...] {lines[-1]}'
        engine.logger.error(f'{what}: {type(error).__name__}: {text}{hint}')
    return hook


def _close(engine: Engine, hook: Any) -> None:
    try:
        hook.after_launch(engine)
    except Exception as error:
        text = f'{hook.name}.after_launch failed, too: {type(error).__name__}: {said(error)}'
        engine.logger.error(text, exc_info=error)


def _acts(hook: Any) -> bool:
    """Whether a hook has something of its own to do: ours sum up runs that have not failed."""
    name = method_for(hook, 'after_launch')
    return name is not None and not _ours(getattr(hook, name))


def _ours(method: Any) -> bool:
    return str(getattr(method, '__module__', None)).startswith(f'{__package__}.')


def _where(engine: Any, event: str | None) -> str:
    """The place in a run, in words; by the event, or without one by what is running."""
    if event in ('before_launch', 'after_launch') or engine.mode is None:
        return ''
    stage, epoch = f'stage {engine.stage + 1}', engine.epoch
    validating = '_val_' in event if event in HOOK_NAMES else engine.mode != 'train'
    if validating:
        where = f'the {"test" if engine.mode == "test" else "validation"} after epoch {epoch}'
    elif event in ('before_stage', 'after_stage'):
        where = stage
    elif event is not None and event.endswith('_epoch'):
        where = f'{stage}, epoch {epoch + 1}'
    else:
        # What hooks have put off until an iteration is over is done when it counts already.
        done = event is not None and event not in HOOK_NAMES
        where = f'{stage}, epoch {epoch + 1}, iteration {engine.iter + (not done)}'
    size = comm.get_world_size()
    return f' at {where}' + (f', in process {comm.get_rank()} of {size}' if size > 1 else '')


def _add_note(error: BaseException, note: str) -> None:
    if hasattr(error, 'add_note'):  # Python 3.11
        error.add_note(f'({note})')
