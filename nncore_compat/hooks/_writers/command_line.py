"""Lines for people, in the log."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ...comm import is_main_process
from .. import _records
from ..base import length_of
from .base import WRITERS, Writer
from .metrics import peak_memory, scalars

if TYPE_CHECKING:
    from ...engine import Engine


@WRITERS.register()
class CommandLineWriter(Writer):
    """Writes a line to the engine's logger.

    Examples:
        >>> hook = EventWriterHook(interval=10, writers=[CommandLineWriter()])
        >>> engine.register_hook(hook)  # in place of the default one
    """

    _log: str | None = None

    def open(self, engine: Engine) -> None:
        """Finds the log file, where it is the engine's own."""
        log = getattr(engine, '_own_log', None)
        self._log = log() if log is not None else None

    def position(self) -> Any:
        """Returns where the engine's log file ends."""
        if self._log is None:
            return None
        return {'name': os.path.basename(self._log), **_records.note(self._log)}

    def go_back(self, engine: Engine, position: Any) -> None:
        """Has the engine go on in the log file of the interrupted run."""
        if not re.fullmatch(r'\d{14}(_\d+)?\.log', str(position['name'])):
            return
        earlier = os.path.join(os.path.expanduser(engine.work_dir), position['name'])
        if engine._own_log() is not None and _records.cut(earlier, position, engine.logger):
            engine._go_on_in_log(earlier)

    def write(self, engine: Engine, window_size: int) -> None:
        """Writes the line; in training, every process takes part."""
        metrics = self._collect_metrics(engine, window_size)
        length = length_of(engine, engine.data_loader)

        if engine.mode == 'train':
            line = f'Epoch [{metrics["epoch"]}][{metrics["iter"]}/{length}] lr: {metrics["lr"]}'
            recorded = engine.buffer.keys()
            if '_total_time' in recorded:
                total = engine.buffer.latest('_total_time')
                done = engine.iter + 1 - engine.start_iter
                left = engine.max_iters - engine.iter - 1
                line += f', eta: {timedelta(seconds=int(left * total / done))}'
            for key in ('time', 'data_time'):
                if key in metrics:
                    line += f', {key}: {metrics[key]:.3f}'
            memory = peak_memory(engine.model)
            if memory is not None:
                line += f', memory: {memory}'
        else:
            line = f'Epoch ({engine.mode}) [{metrics["epoch"]}][{length}]'

        if is_main_process():
            values = [f'{k}: {v:.4f}' for k, v in scalars(engine, window_size)]
            if values:
                line += (' ' if line.endswith(']') else ', ') + ', '.join(values)
            engine.logger.info(line)
