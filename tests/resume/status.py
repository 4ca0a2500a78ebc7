"""Where a run is, for those who outlive it."""

import mmap
import struct

from nncore_compat import Hook

# In each epoch of the run that is killed.
BATCHES = 8
# A letter for what it does, and the iteration.
STATUS = struct.Struct('ci')


class Status(Hook):
    """Keeps it in a file, where it still is when the run has been killed."""

    def __init__(self, path):
        super().__init__()
        # Not made anew: someone may be reading it.
        if not path.exists():
            path.write_bytes(STATUS.pack(b's', 0))
        with path.open('r+b') as file:
            self._map = mmap.mmap(file.fileno(), STATUS.size)

    def _write(self, what, engine):
        STATUS.pack_into(self._map, 0, what, engine.iter)

    def before_train_iter(self, engine):
        self._write(b't', engine)

    def before_val_epoch(self, engine):
        self._write(b'v', engine)

    def after_val_epoch(self, engine):
        self._write(b't', engine)

    def after_launch(self, engine):
        self._write(b'e', engine)
