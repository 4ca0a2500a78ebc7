"""What writers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..._registry import Registry
from ...comm import get_world_size, is_main_only
from .metrics import progress

if TYPE_CHECKING:
    from ...engine import Engine

WRITERS = Registry('writer')


class Writer(ABC):
    """Something that writes the values in the engine's buffer; used by `EventWriterHook`.

    Keys that begin with an underscore are private; keys that end with one hold records of a type,
    such as `samples_images_`.

    Examples:
        >>> from nncore_compat.hooks.writer import WRITERS, Writer
        >>> @WRITERS.register()
        ... class PrintWriter(Writer):
        ...     def write(self, engine, window_size):
        ...         print(engine.mode, engine.epoch, f'{engine.buffer.avg("loss"):.0f}')
        >>> hook = {'type': 'EventWriterHook', 'writers': ['PrintWriter']}
        >>> Engine(model, loaders, stages={**stages[0], 'epochs': 1}, hooks=[hook]).launch()
        train 0 ...
        val 1 ...
        >>> _ = WRITERS.pop('PrintWriter')
    """

    def _collect_metrics(self, engine: Engine, window_size: int) -> dict[str, Any]:
        return progress(engine, window_size)

    @abstractmethod
    def write(self, engine: Engine, window_size: int) -> None:
        """Writes averages over the latest iterations.

        Args:
            engine: The engine, in mode 'train' or 'val'.
            window_size: How many iterations there were since the last writing.

        Examples:
            >>> engine.launch()
            >>> writer = JSONWriter('more.jsonl')
            >>> writer.open(engine)
            >>> writer.write(engine, window_size=3)  # what EventWriterHook does
        """

    def open(self, engine: Engine) -> None:  # noqa: B027 (optional, hence not abstract)
        """Called at the launch, in the main process.

        Args:
            engine: The engine.

        Examples:
            >>> JSONWriter().open(engine)  # makes the folder
        """

    def close(self, engine: Engine) -> None:  # noqa: B027
        """Called in the main process at the end of a run, also of one that fails.

        Args:
            engine: The engine.

        Examples:
            >>> JSONWriter().close(engine)
        """

    def survives(self, error: Exception) -> bool:
        """Whether training goes on when a method of this writer has raised an error.

        It is told in the log then, once. A writer that fails in `open` is left out, one that fails
        in `write` is asked again. Any other error ends the run, as mistakes in a script should.

        Args:
            error: The error.

        Returns:
            By default, whether it is one of a disk or a network, an OSError; never in several
            processes, where others may wait for this one within `write`, unless that is decorated
            with `main_only`.

        Examples:
            >>> JSONWriter().survives(OSError('the disk is full'))
            True
        """
        alone = get_world_size() == 1 or is_main_only(self.write)
        return alone and isinstance(error, OSError)

    def position(self) -> Any:
        """Returns, as plain data, where the records end now: it goes into each checkpoint.

        Returns:
            What `go_back` needs, or None.

        Examples:
            >>> JSONWriter().position() is None  # not open yet
            True
        """
        return None

    def go_back(self, engine: Engine, position: Any) -> None:  # noqa: B027
        """Called before `open` when an interrupted run is taken up: removes what came later.

        Args:
            engine: The engine.
            position: What `position` returned when the checkpoint was saved.

        Examples:
            >>> CommandLineWriter().go_back(engine, {'name': 'another.log'})
        """
