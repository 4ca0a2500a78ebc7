"""Who is called when, in a run of an engine: hooks and callbacks in one table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.utilities.model_helpers import is_overridden

from ..hooks import Hook, OptimizerHook
from ..hooks.base import method_for

if TYPE_CHECKING:
    from ..engine import Engine

STEPPING = ('on_before_backward', 'on_after_backward', 'on_before_optimizer_step')


@dataclass
class Row:
    """A moment of a run.

    Args:
        depth: How many loops it is within.
        title: What is done from here on, where the row stands for no event.
        hook_event: nncore's event.
        callback_event: Lightning's event.
        calls: Who is called, in order.
    """

    depth: int
    title: str = ''
    hook_event: str | None = None
    callback_event: str | None = None
    calls: tuple[str, ...] = ()


class Timeline(list[Row]):
    """The moments of a run in order; as a string, a table of them."""

    def __repr__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """Return the table.

        Args:
            width: Columns to keep to; None for as many as it takes.
        """
        heads = ('nncore', 'Lightning', 'who is called, in order')
        left = max(len(heads[0]), *(len(_name(row)) for row in self if not row.title))
        middle = max(len(heads[1]), *(len(row.callback_event or '') for row in self))
        lines = [heads, ('-' * left, '-' * middle, '-' * len(heads[2]))]
        lines += [
            (_name(row), '' if row.title else row.callback_event or '.', ', '.join(row.calls))
            for row in self
        ]
        # Titles of some length go over the middle.
        space = None if width is None else max(20, width - left - middle - 4)
        table = []
        for a, b, c in lines:
            parts = [c] if space is None else textwrap.wrap(c, space) or ['']
            table.append(f'{a:{left}}  {b:{middle}}  {parts[0]}'.rstrip())
            table += [f'{"":{left}}  {"":{middle}}  {part}' for part in parts[1:]]
        return '\n'.join(table)


def _name(row: Row) -> str:
    return '  ' * row.depth + (row.title or row.hook_event or '.')


def timeline(engine: Engine) -> Timeline:
    """Return who is called at each moment of a training run, as hooks and callbacks stand now.

    Args:
        engine: The engine.
    """
    return Timeline(_Writer(engine).rows())


class _Writer:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.all: list[tuple[str, Any]] = list(engine.hooks.items())
        # What the Trainer has brought itself, such as a progress bar.
        inside = __name__.rpartition('.')[0]
        self.all += [
            (type(one).__name__, one)
            for one in engine.trainer.callbacks  # type: ignore[attr-defined]
            if not type(one).__module__.startswith(inside)
            and not any(one is known for known in engine.hooks.values())
        ]

    def rows(self) -> Iterator[Row]:
        yield from self._only(0, 'setup', 'on_fit_start')
        yield from self._at(0, 'before_launch', 'on_train_start')
        yield Row(0, 'each stage')
        yield from self._at(1, 'before_stage')
        yield Row(1, 'each epoch')
        yield from self._at(2, 'before_train_epoch', 'on_train_epoch_start')
        yield Row(2, 'each iteration')
        yield from self._iteration(3, 'train', 'on_train_batch')
        yield from self._at(2, 'after_train_epoch')
        yield Row(2, 'where validation is due')
        yield from self._validation(3)
        yield from self._only(2, 'on_train_epoch_end')
        yield from self._at(1, 'after_stage')
        yield from self._at(0, 'after_launch', 'on_train_end')
        yield from self._only(0, 'on_fit_end', 'teardown')

    def _validation(self, depth: int) -> Iterator[Row]:
        if self.engine._overrides('val_epoch'):
            yield from self._only(depth, 'on_validation_start')
            yield self._own(depth, 'val_epoch')
            ends = ('on_validation_epoch_start', 'on_validation_epoch_end', 'on_validation_end')
            yield from self._only(depth, *ends)
            return
        yield from self._at(depth, 'before_val_epoch', 'on_validation_start')
        yield from self._only(depth, 'on_validation_epoch_start')
        yield Row(depth, 'each iteration')
        yield from self._iteration(depth + 1, 'val', 'on_validation_batch')
        yield from self._at(depth, 'after_val_epoch', 'on_validation_epoch_end')
        yield from self._only(depth, 'on_validation_end')

    def _iteration(self, depth: int, mode: str, event: str) -> Iterator[Row]:
        if self.engine._overrides(f'{mode}_iter'):
            yield from self._only(depth, f'{event}_start')
            yield self._own(depth, f'{mode}_iter')
            yield from self._only(depth, f'{event}_end')
            return
        yield from self._at(depth, f'before_{mode}_iter', f'{event}_start')
        yield Row(depth, 'the model')
        yield from self._at(depth, f'after_{mode}_iter', f'{event}_end')

    def _own(self, depth: int, method: str) -> Row:
        return Row(depth, f'{type(self.engine).__name__}.{method}, and hooks as it calls them')

    def _only(self, depth: int, *events: str) -> Iterator[Row]:
        """Events of callbacks alone, those at which one is called."""
        for event in events:
            calls = [call for _, call in self._calls(None, event)]
            if calls:
                yield Row(depth, callback_event=event, calls=tuple(calls))

    def _at(self, depth: int, hook_event: str, callback_event: str | None = None) -> Iterator[Row]:
        calls: list[str] = []
        stepping = list(self._only(depth + 1, *STEPPING))
        for one, call in self._calls(hook_event, callback_event):
            calls.append(call)
            if isinstance(one, OptimizerHook) and hook_event == 'after_train_iter' and stepping:
                yield Row(depth, '', hook_event, callback_event, tuple(calls))
                yield from stepping
                calls = []
        # What follows the optimizer's step is a row of its own, of the same event.
        yield Row(depth, '', hook_event, callback_event, tuple(calls))

    def _calls(self, hook_event: str | None, event: str | None) -> Iterator[tuple[Any, str]]:
        # Lightning has those that monitor come last there.
        late = (EarlyStopping, Checkpoint) if event == 'on_train_epoch_end' else ()
        for name, one in sorted(self.all, key=lambda item: isinstance(item[1], late)):
            if isinstance(one, Hook):
                method = method_for(one, hook_event) if hook_event else None
                if method is not None:
                    yield one, name if method == hook_event else f'{name}.{method}'
            elif event is not None and is_overridden(event, one, parent=Callback):
                yield one, name
