"""What hooks that produce metrics have in common: when, and the best so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import quirks
from ._checks import check_count
from .base import Hook

if TYPE_CHECKING:
    from ..engine import Engine


class EvaluatingHook(Hook):
    """Produces metrics after every n-th epoch and tracks the best of them.

    Args:
        interval: Evaluates after every n-th epoch, of those that are validated.
        high_keys: Metrics whose highest value is tracked as `best_<metric>`.
        low_keys: Metrics whose lowest value is tracked as `best_<metric>`.
        name: What the engine knows the hook by.
    """

    def __init__(
        self,
        interval: int,
        high_keys: Sequence[str],
        low_keys: Sequence[str],
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self._interval = check_count(interval, f'{kind}.interval', minimum=None)
        for argument, keys in (('high_keys', high_keys), ('low_keys', low_keys)):
            if isinstance(keys, str) or not isinstance(keys, Sequence):
                raise TypeError(f'{kind}.{argument} must be a list of metrics, but got {keys!r}')
        self._high_keys = high_keys
        self._low_keys = low_keys
        self._high_values: dict[str, Any] = {key: float('-inf') for key in high_keys}
        self._low_values: dict[str, Any] = {key: float('inf') for key in low_keys}

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the best values so far."""
        return {'high': dict(self._high_values), 'low': dict(self._low_values)}

    def load_state_dict(self, state_dict: dict[str, dict[str, Any]]) -> None:
        """Takes over the best values of the metrics that are tracked here."""
        for ours, theirs in (
            (self._high_values, state_dict['high']),
            (self._low_values, state_dict['low']),
        ):
            ours.update((key, value) for key, value in theirs.items() if key in ours)

    def _with_best(self, metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        yield from metrics.items()
        for key in self._high_keys:
            if key in metrics:
                if metrics[key] > self._high_values[key]:
                    self._high_values[key] = metrics[key]
                yield f'best_{key}', self._high_values[key]
        for key in self._low_keys:
            if key in metrics:
                if metrics[key] < self._low_values[key]:
                    self._low_values[key] = metrics[key]
                yield f'best_{key}', self._low_values[key]

    def _is_due(self, engine: Engine) -> bool:
        late = self.every_n_epochs(engine, self._interval)
        if quirks.active('eval-interval'):
            return late
        # The engine counts an epoch as done before it validates.
        due = self._interval > 0 and engine.epoch % self._interval == 0
        if due != late:
            n = self._interval
            quirks.met(
                'eval-interval',
                engine,
                f'{type(self).__name__}(interval={n}) evaluates after epochs '
                f'{n}, {2 * n}, {3 * n}, ...',
            )
        return due
