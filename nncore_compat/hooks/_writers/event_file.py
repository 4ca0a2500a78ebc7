"""Event files that are written where the events come up, not by a thread.

TensorBoard hands each event to a thread, which takes its turns from the training and opens the
file for each. For a scalar that is several times the work of writing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# In bytes: a scalar has less than 100. The check sum of more takes a while.
_LARGE = 2000


class EventFiles:
    """The event files of a SummaryWriter, which are written here where that is possible.

    It is not where they are in no folder of this machine, and where TensorBoard has been patched.

    Args:
        writer: The SummaryWriter.
        mark: How the names of its files end.
        earlier: Files that end so, too, and are not its own.
    """

    def __init__(self, writer: SummaryWriter, mark: str, earlier: Iterable[Path]) -> None:
        self._writer = writer
        self._mark = mark
        self._earlier = set(earlier)
        self.take_over()

    def take_over(self) -> None:
        """Write those that have come up."""
        from tensorboard.summary.writer import event_file_writer as stock

        add = stock.EventFileWriter.add_event
        if getattr(add, '__globals__', None) is not vars(stock):
            return
        for one in self._parts():
            if type(getattr(one, 'event_writer', None)) is not stock.EventFileWriter:
                continue
            found = Path(one.get_logdir()).glob(f'*tfevents*.{self._mark}')
            paths = [path for path in found if path not in self._earlier]
            if len(paths) == 1:
                one.event_writer = EventFile(one.event_writer, paths[0])

    def catch_up(self) -> None:
        """Wait for what threads have got to write."""
        for one in self._parts():
            if isinstance(getattr(one, 'event_writer', None), EventFile):
                one.event_writer.catch_up()

    def _parts(self) -> Iterator[Any]:
        yield from (getattr(self._writer, 'all_writers', None) or {}).values()


class EventFile:
    """Takes the place of an EventFileWriter, and leaves large events to it.

    Args:
        thread: The EventFileWriter.
        path: Its file.
    """

    def __init__(self, thread: Any, path: Path) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        thread.flush()
        self._thread = thread
        self._records = RecordWriter(path.open('ab'))
        self._behind = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._thread, name)

    def add_event(self, event: Any) -> None:
        """Write an event."""
        data = event.SerializeToString()
        if self._behind or len(data) > _LARGE:
            # What follows a large one waits for its turn there, too.
            self._behind = True
            self._thread.add_event(event)
        else:
            self._records.write(data)
            # All of a record or none of it, also when the process dies.
            self._records.flush()

    def catch_up(self) -> None:
        """Wait until the thread has written what it has got."""
        if self._behind:
            self._thread.flush()
            self._behind = False

    def flush(self) -> None:
        """Have everything in the file."""
        self._thread.flush()

    def close(self) -> None:
        """Close the file."""
        try:
            self._thread.close()
        finally:
            self._records.close()
