"""What writers have in common."""

from abc import ABC, abstractmethod
from typing import Any

from ..._registry import Registry
from ...comm import get_world_size, is_main_only
from .metrics import progress

WRITERS = Registry('writer')


class Writer(ABC):
    """Something that writes the values in the engine's buffer; used by `EventWriterHook`.

    Keys that begin with an underscore are private; keys that end with one hold records of a type,
    such as `samples_images_`.
    """

    def _collect_metrics(self, engine: Any, window_size: int) -> dict[str, Any]:
        return progress(engine, window_size)

    @abstractmethod
    def write(self, engine: Any, window_size: int) -> None:
        """Writes averages over the latest iterations."""

    def open(self, engine: Any) -> None:  # noqa: B027 (optional, hence not abstract)
        """Called at the launch."""

    def close(self, engine: Any) -> None:  # noqa: B027
        """Called at the end of the run, also where an error or a signal ends it."""

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
        """
        alone = get_world_size() == 1 or is_main_only(self.write)
        return alone and isinstance(error, OSError)

    def position(self) -> Any:
        """Returns, as plain data, where the records end now: it goes into each checkpoint.

        Returns:
            What `go_back` needs, or None.
        """
        return None

    def go_back(self, engine: Any, position: Any) -> None:  # noqa: B027
        """Called before `open` when an interrupted run is taken up: removes what came later.

        Args:
            engine: The engine.
            position: What `position` returned when the checkpoint was saved.
        """
