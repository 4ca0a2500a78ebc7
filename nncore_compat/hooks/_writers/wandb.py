"""Weights & Biases."""

from __future__ import annotations

import os
from multiprocessing import parent_process, util
from typing import TYPE_CHECKING, Any

from ...comm import main_only
from .base import WRITERS, Writer
from .meta import settings_in
from .metrics import averages_of, scalar_keys
from .trouble import of_disk_or_service

if TYPE_CHECKING:
    from ...engine import Engine

# The run that a writer has begun last, in whatever engine.
_begun: Any = None


@WRITERS.register()
class WandbWriter(Writer):
    """Writes to Weights & Biases.

    Each value is a row of its own, as in nncore, with the iteration and the epoch beside it; charts
    are drawn over the iteration.

    The run is finished when the process ends, so that the script may go on with `wandb.run` after
    the launch; where an error or a signal ends the launch, it is finished at once, as failed. A run
    that the script has begun itself is used as it is, and left to the script.

    Args:
        **kwargs: Passed to `wandb.init`, besides the name of the `work_dir` and the engine's
            `meta` as config.

    Examples:
        >>> writer = WandbWriter(project='points', mode='offline')
        >>> engine.register_hook(EventWriterHook(writers=['CommandLineWriter', writer]))
    """

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs
        self._writer: Any = None
        self._run: Any = None
        self._resumed: dict[str, Any] = {}
        # Where rows go on, where wandb does not know it because it is offline.
        self._step = 0
        self._charted: set[str] = set()

    def open(self, engine: Engine) -> None:
        """Begins the run.

        Raises:
            ImportError: When wandb is not installed.
        """
        global _begun
        try:
            import wandb
        except ImportError as error:
            raise ImportError('WandbWriter needs wandb: pip install wandb') from error

        self._writer = wandb
        earlier = getattr(wandb, 'run', None)
        name = os.path.basename(os.path.normpath(engine.work_dir))
        config = None if engine.meta is None else settings_in(engine.meta)
        given = {'name': name, 'config': config, **self._resumed, **self._kwargs}
        self._run = wandb.init(**given)
        self._charted.clear()
        if self._run is not None and self._run is not earlier:
            _begun = self._run
            if parent_process() is not None:
                # Which may end without what wandb does at an exit.
                util.Finalize(self._run, self._run.finish, exitpriority=0)

    def close(self, engine: Engine) -> None:
        """Finishes the run, if an error or a signal has ended the launch."""
        error = engine.failure
        if error is not None and self._run is not None and self._run is _begun:
            self._run.finish(exit_code=_exit_code(error))

    def survives(self, error: Exception) -> bool:
        """Whether it is an error of the disk, the network, or wandb's own process."""
        # The bare one is for calls at the wrong time.
        return type(error).__name__ != 'Error' and of_disk_or_service(error)

    def position(self) -> Any:
        """Returns the id of the run, and how many rows it has."""
        run = getattr(self._writer, 'run', None)
        if run is None or getattr(run, 'disabled', False):
            return None
        return {'id': run.id, 'step': getattr(run, 'step', 0)}

    def go_back(self, engine: Engine, position: Any) -> None:
        """Has the same run opened again; what it was told, it keeps."""
        self._resumed = {'id': position['id'], 'resume': 'allow'}
        self._step = position.get('step', 0)

    @main_only
    def write(self, engine: Engine, window_size: int) -> None:
        """Logs each value."""
        averages = averages_of(engine)
        for key in scalar_keys(engine.buffer):
            value = averages.avg(key, window_size)
            tag = f'{key}/{engine.mode}'
            self._place(tag, engine)
            self._writer.log({tag: value})

    def _place(self, tag: str, engine: Engine) -> None:
        """Put into the row that comes where the run is."""
        # The script may have begun another one.
        run = None if self._run is None else self._writer.run
        if run is None:
            return
        if run is not self._run:
            self._run, self._step = run, 0
            self._charted.clear()
        if tag not in self._charted:
            self._charted.add(tag)
            run.define_metric(tag, step_metric='iter')
        where = {'iter': engine.iter + 1, 'epoch': engine.epoch + (engine.mode == 'train')}
        later = {'step': self._step} if self._step > run.step else {}
        run.log(where, commit=False, **later)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    # What wandb itself says.
    return 255 if isinstance(error, KeyboardInterrupt) else 1
