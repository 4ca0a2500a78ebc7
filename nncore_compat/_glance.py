"""A look at a run from outside, for a line about it."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import _device_values
from . import _loader_parts as parts
from ._bar_styles import Line
from ._device_values import Later
from ._remember import newest

if TYPE_CHECKING:
    from .engine import Engine


class Training:
    """Looks at a training, without waiting for an accelerator.

    Args:
        engine: The engine that trains.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._begun = perf_counter()
        self._first: int | None = None
        self._pace = Pace()
        self._loss: float | None = None
        self._awaited: Later | None = None

    def go_on(self, now: float) -> None:
        """Take note of an iteration that is done."""
        engine = self._engine
        if self._first is None:
            # A hook may have resumed just now.
            self._first = engine.start_iter
        self._pace.note(now, engine.iter)
        self._note_loss()

    def pause(self) -> None:
        """Do not count the time until the next iteration."""
        self._pace.pause()

    def line(self, now: float) -> Line:
        """Return what there is to say."""
        engine = self._engine
        done = engine.iter - engine._epoch_start
        details = []
        if self._first is not None and engine.iter > self._first:
            # As in the log.
            left = (now - self._begun) / (engine.iter - self._first)
            details.append(f'eta {whole(left * max(0, engine.max_iters - engine.iter))}')
        if self._loss is not None:
            details.append(f'loss {self._loss:.4f}')
        details += self._pace.text()
        rates = _rates(engine)
        if rates:
            details.append(f'lr {rates}')
        if engine.max_stages > 1:
            details.append(f'stage {min(engine.stage + 1, engine.max_stages)}/{engine.max_stages}')
        title = f'Epoch {engine._running_epoch + 1}/{engine.max_epochs}'
        return Line(title, done, parts.length(engine.data_loaders['train']), details)

    def _note_loss(self) -> None:
        engine = self._engine
        near = _number(getattr(engine, 'losses', {}).get('loss'))
        if near is not None:
            self._loss = near
            return
        # On an accelerator it is known when the log has been written, or someone has asked.
        if self._awaited is not None and self._awaited.has_come:
            self._loss, self._awaited = _number(self._awaited.get()), None
        value = newest(engine.buffer, 'loss')
        if isinstance(value, Later) and not value.has_come:
            self._awaited = value


class Pace:
    """How long one of many takes, over the last few drawings."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._notes: deque[tuple[float, int]] = deque(maxlen=20)

    def note(self, now: float, done: int) -> None:
        """Take note of how many are done."""
        if self._notes and done <= self._notes[-1][1]:
            return
        self._notes.append((now, done))
        (first, before), (last, after) = self._notes[0], self._notes[-1]
        if after > before:
            self._seconds = (last - first) / (after - before)

    def pause(self) -> None:
        """Do not count the time until the next note."""
        self._notes.clear()

    def text(self) -> list[str]:
        """Return what there is to say."""
        seconds = self._seconds
        if seconds is None:
            return []
        if seconds >= 1:
            return [f'{seconds:.2f} s/it']
        return [f'{seconds * 1000:.{1 if seconds < 0.1 else 0}f} ms/it']


def _rates(engine: Engine) -> str:
    """Return the learning rates in a few words: one, or the lowest and the highest."""
    groups = getattr(getattr(engine, 'optimizer', None), 'param_groups', ())
    known = [_number(group.get('lr')) for group in groups]
    rates = [rate for rate in known if rate is not None]
    if not rates:
        return ''
    return ' to '.join(
        f'{round(rate, 8 if rate < 1e-4 else 5)}' for rate in sorted({min(rates), max(rates)})
    )


def _number(value: Any) -> float | None:
    """Return a number that is there; what is on an accelerator is left in peace."""
    if isinstance(value, (int, float)):
        return float(value)
    if type(value) in _device_values.KINDS and value.is_cpu and value.numel() == 1:
        return float(value.item())
    return None


def whole(seconds: float) -> timedelta:
    """Return a time without fractions of a second."""
    return timedelta(seconds=int(seconds))
