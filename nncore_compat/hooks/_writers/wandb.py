"""Weights & Biases."""

import os
from typing import Any

from ...comm import main_only
from .base import WRITERS, Writer
from .metrics import averages_of, scalar_keys


@WRITERS.register()
class WandbWriter(Writer):
    """Writes to Weights & Biases.

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
        self._resumed: dict[str, Any] = {}

    def open(self, engine: Any) -> None:
        """Begins the run.

        Raises:
            ImportError: When wandb is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise ImportError('WandbWriter needs wandb: pip install wandb') from error

        self._writer = wandb
        name = os.path.basename(engine.work_dir)
        wandb.init(**{'name': name, 'config': engine.meta, **self._resumed, **self._kwargs})

    def position(self) -> Any:
        """Returns the id of the run."""
        run = getattr(self._writer, 'run', None)
        return None if run is None else {'id': run.id}

    def go_back(self, engine: Any, position: Any) -> None:
        """Has the same run opened again; what it was told, it keeps."""
        self._resumed = {'id': position['id'], 'resume': 'allow'}

    @main_only
    def write(self, engine: Any, window_size: int) -> None:
        """Logs each value."""
        averages = averages_of(engine)
        for key in scalar_keys(engine.buffer):
            value = averages.avg(key, window_size)
            self._writer.log({f'{key}/{engine.mode}': value})
