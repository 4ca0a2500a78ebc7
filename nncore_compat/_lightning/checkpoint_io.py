"""How checkpoints come to the disk: all or nothing, and in the background if that is wanted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

from .. import _files, comm


class Job(NamedTuple):
    """What follows when a file has been written, or could not be.

    Attributes:
        then: Called when the file is safe.
        failed: Called with the error. Without it, all processes raise the error.
    """

    then: Callable[[], None] | None = None
    failed: Callable[[OSError], None] | None = None


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes files all or nothing."""

    def __init__(self) -> None:
        # By the path of the file.
        self.jobs: dict[str, Job] = {}
        self._error: OSError | None = None

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write a file.

        Args:
            checkpoint: The checkpoint, or what stands for it in the background.
            path: The file, or a URL that fsspec knows.
            storage_options: None.
        """
        if isinstance(checkpoint, Snapshot):
            checkpoint = checkpoint.content

        def write() -> None:
            if '://' in str(path) or storage_options is not None:
                super(AtomicCheckpointIO, self).save_checkpoint(checkpoint, path, storage_options)
            else:
                _files.write(checkpoint, path)

        self.carry_out(path, write)

    def carry_out(self, path: Any, write: Callable[[], None]) -> None:
        """Write something, and do what is to follow.

        Args:
            path: The file.
            write: Writes it. Others may take part, but one process does what follows.
        """
        job = self.jobs.pop(str(path), None)
        try:
            write()
            if job is not None and job.then is not None and comm.is_main_process():
                job.then()
        except OSError as error:
            if job is None:
                raise
            if job.failed is None:
                self._error = error
            elif comm.is_main_process():
                job.failed(error)

    def report(self) -> None:
        """Raise what a write has met; all processes take part.

        Raises:
            OSError: A file could not be written.
        """
        error, self._error = self._error, None
        error = comm.broadcast(error)
        if error is not None:
            raise error


class Snapshot:
    """A checkpoint that does not change any more.

    Lightning copies tensors one by one before it writes in the background, so that those which are
    in the file twice would be written twice. In this box it finds none.

    Args:
        checkpoint: The checkpoint.
    """

    def __init__(self, checkpoint: dict[str, Any]) -> None:
        self.content = copy.deepcopy(checkpoint)


class BackgroundCheckpointIO(AsyncCheckpointIO):
    """Writes files all or nothing in another thread, one after the other."""

    def __init__(self) -> None:
        self.writer = AtomicCheckpointIO()
        super().__init__(self.writer)

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Copy a checkpoint and have it written.

        Args:
            checkpoint: The checkpoint.
            path: The file, or a URL that fsspec knows.
            storage_options: None.
        """
        super().save_checkpoint(Snapshot(checkpoint), path, storage_options=storage_options)


def prepare(strategy: Any, background: bool = False) -> AtomicCheckpointIO | None:
    """Have a strategy write as this module does, unless its user has chosen a way of his own.

    Args:
        strategy: The strategy.
        background: Whether to write in the background.

    Returns:
        What writes; None if that is the user's.
    """
    io = strategy.checkpoint_io
    if type(io) is AsyncCheckpointIO or (background and _is_plain(io)):
        strategy.checkpoint_io = io = BackgroundCheckpointIO()
    elif type(io) is TorchCheckpointIO:
        strategy.checkpoint_io = io = AtomicCheckpointIO()
    return writer_of(strategy)


def writer_of(strategy: Any) -> AtomicCheckpointIO | None:
    """Return what writes for a strategy; None if that is its user's."""
    io = strategy.checkpoint_io
    if isinstance(io, BackgroundCheckpointIO):
        return io.writer
    return io if isinstance(io, AtomicCheckpointIO) else None


def finish(strategy: Any) -> None:
    """Wait for the last writes in the background, and raise what they have met; all take part.

    Args:
        strategy: The strategy.

    Raises:
        OSError: A file could not be written.
    """
    if isinstance(strategy.checkpoint_io, BackgroundCheckpointIO):
        # Most strategies have waited at their own end, ModelParallelStrategy has not.
        strategy.checkpoint_io.teardown()
        strategy.checkpoint_io.writer.report()


def _is_plain(io: Any) -> bool:
    return type(io) in (TorchCheckpointIO, AtomicCheckpointIO)
