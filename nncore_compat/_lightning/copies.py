"""A launch in copies of this process, as the launchers spawn and fork make them."""

from __future__ import annotations

import os
import pickle
import tempfile
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing import ProcessExitedException

from .. import _phases, _report
from .._handlers import SIGNALS, handed_on

if TYPE_CHECKING:
    from ..engine import Engine

# What of an engine is worth taking over: the rest is as it was, or cannot leave a process.
COUNTERS = ('_mode', '_stage', '_epoch', '_iter', '_start_iter', '_epochs_left', '_max_iters')


def launch(engine: Engine, strategy: Any, eval: bool | str) -> Any:
    """Launch an engine in copies of this process.

    Args:
        engine: The engine. It gets weights, optimizer, counters, buffer and metrics of the first
            copy, and the states of hooks and callbacks that have a ``state_dict``; what others and
            data have noted stays in the copies.
        strategy: The strategy, whose launcher makes the copies.
        eval: What the engine's ``launch`` was given.

    Returns:
        What the launch in the first copy returned.

    Raises:
        TypeError: The engine cannot be copied to another process.
        SystemExit: A signal has ended the copies.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, 'outcome')
        try:
            with handed_on(lambda: [one.pid for one in strategy.launcher.procs]):
                strategy.launcher.launch(_work, engine, eval, file, _report.so_far())
        except ProcessExitedException as error:
            code = error.exit_code if error.exit_code > 0 else 128 - error.exit_code
            if code - 128 in SIGNALS:
                raise SystemExit(code) from error
            raise
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            if 'pickle' not in str(error):
                raise
            raise TypeError(
                f'to spawn processes, all that the engine holds must be picklable: {error}. '
                'Define it at the top of a module, or use another strategy (ddp, ddp_fork)'
            ) from error
        outcome = torch.load(file, weights_only=False)
    _take_over(engine, outcome)
    return outcome['returned']


def _work(engine: Engine, eval: bool | str, file: str, launches: list[dict[str, Any]]) -> None:
    _report.go_on_from(launches)
    _unshare(engine)
    engine._arrive()
    returned = engine._launch(eval)
    state = {
        'returned': returned,
        'weights': engine.model.state_dict(),
        'counters': {name: getattr(engine, name) for name in COUNTERS},
        'buffer': {key: engine.buffer.get(key) for key in engine.buffer.keys()},  # noqa: SIM118
        'optimizer': None,
        'hooks': {name: one.state_dict() for name, one in _with_state(engine)},
        'metrics': dict(engine._run.trainer.callback_metrics),
        'log': engine._log_file,
    }
    optimizer = getattr(engine, 'optimizer', None)
    if optimizer is not None:
        last = min(engine.stage, engine.max_stages - 1)
        state['optimizer'] = last, optimizer.state_dict()
    if engine._run.trainer.is_global_zero:
        torch.save(state, file)


def _unshare(engine: Engine) -> None:
    # What spawned processes are handed lies in memory that they share; each needs its own.
    for tensor in (*engine.model.parameters(), *engine.model.buffers()):
        tensor.data = tensor.data.clone()
    for optimizer in (getattr(engine, 'optimizer', None), *(s['optimizer'] for s in engine.stages)):
        for state in getattr(optimizer, 'state', {}).values():
            state.update({k: v.clone() for k, v in state.items() if torch.is_tensor(v)})


def _with_state(engine: Engine) -> list[tuple[str, Any]]:
    return [
        (name, one)
        for name, one in engine.hooks.items()
        if hasattr(one, 'state_dict') and hasattr(one, 'load_state_dict')
    ]


def _take_over(engine: Engine, outcome: dict[str, Any]) -> None:
    engine.model.load_state_dict(outcome['weights'])
    if outcome['log'] != engine._log_file:
        engine._go_on_in_log(outcome['log'])
    for name, value in outcome['counters'].items():
        setattr(engine, name, value)
    engine.buffer.clear()
    for key, values in outcome['buffer'].items():
        for value in values:
            engine.buffer.update(key, value, warning=False)
    engine._run.trainer.callback_metrics.update(outcome['metrics'])
    for name, one in _with_state(engine):
        state = outcome['hooks'].get(name)
        if state is not None:
            if 'dirpath' in state:
                # Where the copies have put their files, a ModelCheckpoint learns in its run only.
                one.dirpath = state['dirpath']
            one.load_state_dict(state)
    if outcome['optimizer'] is not None:
        stage, state = outcome['optimizer']
        engine.optimizer = _phases.new_optimizer(engine, stage)
        engine.optimizer.load_state_dict(state)
