"""What writers have in common."""

from abc import ABC, abstractmethod
from typing import Any

from ..._registry import Registry
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
        """Called at the end of the run."""

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
