"""Writes down what an engine does, and ends the script when enough has been seen."""

from __future__ import annotations

from typing import Any

import torch

from .lines import Lines, Stop
from .state import View

# Events within an iteration: in large models not every tensor is looked at there.
_OFTEN = ('before_train_iter', 'after_train_iter', 'before_val_iter', 'after_val_iter')


class Recorder:
    """Keeps the records of one process.

    Each says what has happened, what has changed since the record before, and what is gone. They
    have the same form on both sides.

    Args:
        spec: What the parent wants, see `children.Job`.
        lines: Where to write.
    """

    def __init__(self, spec: dict[str, Any], lines: Lines) -> None:
        self.spec = spec
        self.lines = lines
        self.count: int = spec['count']
        # Training batches so far, when the epoch began, and validations of training.
        self.trained = self.epoch_start = self.validations = 0
        # Whether the epoch was ended before its time.
        self.cut = False
        # Whether the last epoch is over, and maybe not validated.
        self.unsettled = False
        self.stopped = False
        # The hooks, and methods of engines, that are running.
        self.inside: set[tuple[int, str]] = set()
        self._index = 0
        self._views: dict[int, tuple[int, View]] = {}

    @property
    def left(self) -> int:
        """How many training batches are still to be seen."""
        return max(0, self.count - self.trained)

    def record(self, what: str, engine: Any, full: bool = True, **head: Any) -> None:
        """Write a record.

        Args:
            what: What has happened.
            engine: The engine.
            full: Whether to look at all tensors.
            **head: More about it.
        """
        if self.stopped:
            return
        number, view = self._seen(engine)
        changed, gone = view.changes(full)
        head = {'what': what, **head, **({'engine': number} if number > 1 else {})}
        self.lines.write({'head': head, 'changed': changed, 'gone': gone})
        if self._index == self.spec.get('until'):
            if self.spec.get('show'):
                torch.save(view.shown, self.spec['shown'])
            self._end()
        self._index += 1

    def hook(self, engine: Any, hook: Any, event: str, at: str) -> None:
        """Write down that a hook begins or ends."""
        name = str(getattr(hook, 'name', type(hook).__name__))
        self.record('hook', engine, event not in _OFTEN, hook=name, event=event, at=at)

    def batch(self, engine: Any, data: Any, mode: str) -> None:
        """Write down the batch that the model is about to see."""
        if self.stopped:
            # The script has caught what was to end it.
            self.lines.leave()
        self._seen(engine)[1].batch = data
        self.record('batch', engine, mode == 'train', mode=mode)

    def needs_validation(self, engine: Any) -> bool:
        """Tell whether there is a validation, and none has been seen."""
        interval = (engine.cur_stage.get('validation') or {}).get('interval', 0)
        return not self.validations and 'val' in engine.data_loaders and interval > 0

    def stop(self, engine: Any) -> None:
        """End the script, with a last look."""
        self.record('stop', engine)
        self._end()

    def _seen(self, engine: Any) -> tuple[int, View]:
        if id(engine) not in self._views:
            view = View(engine, self.spec.get('show'))
            self._views[id(engine)] = len(self._views) + 1, view
        return self._views[id(engine)]

    def _end(self) -> None:
        self.stopped = True
        self.lines.note(end='stopped')
        raise Stop
