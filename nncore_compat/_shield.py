"""Workers of loaders outlive the signals that are meant for the run.

A terminal signals all its processes, Slurm those of a job, torchrun those of a rank. Without its
workers a run could not come to the end of its iteration.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from . import _handlers


class Shield:
    """Stands for a loader's ``worker_init_fn``.

    Args:
        init_fn: The loader's own, or None.
        signals: What to outlive, where it is not handled otherwise.
    """

    def __init__(self, init_fn: Callable[[int], None] | None, signals: Iterable[int]) -> None:
        self.init_fn = init_fn
        self._signals = tuple(signals)

    def __call__(self, worker: int) -> None:
        for signum in self._signals:
            if _handlers.is_free(signum):
                _outlive(signum)
        if self.init_fn is not None:
            self.init_fn(worker)


def put_on(loaders: dict[str, Any], signals: Iterable[int]) -> None:
    """Have the workers of loaders outlive signals, from when they start."""
    for loader in _with_workers(loaders):
        if not isinstance(loader.worker_init_fn, Shield):
            loader.worker_init_fn = Shield(loader.worker_init_fn, signals)


def take_off(loaders: dict[str, Any]) -> None:
    """Leave loaders as they were."""
    for loader in _with_workers(loaders):
        if isinstance(loader.worker_init_fn, Shield):
            loader.worker_init_fn = loader.worker_init_fn.init_fn


def _with_workers(loaders: dict[str, Any]) -> Iterator[Any]:
    for loader in loaders.values():
        if isinstance(loader, DataLoader) and loader.num_workers > 0:
            yield loader


def _outlive(signum: int) -> None:
    if signum != signal.SIGTERM:
        signal.signal(signum, signal.SIG_IGN)
    elif hasattr(signal, 'sigwaitinfo'):
        # The run itself ends its workers by SIGTERM, and no handler is told where one comes from.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
        threading.Thread(target=_obey_the_run, name='signals', daemon=True).start()


def _obey_the_run() -> None:
    run = multiprocessing.parent_process()
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if run is None or sender == run.pid or not run.is_alive():
            os._exit(0)
