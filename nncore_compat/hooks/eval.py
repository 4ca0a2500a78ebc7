"""Metrics of the data set's own `evaluate` method, and the best of them so far."""

from collections.abc import Sequence
from typing import Any

from .. import quirks
from ..builder import HOOKS
from ._checks import check_count
from .base import Hook


@HOOKS.register()
class EvalHook(Hook):
    """Evaluates after a validation, when the test data set has a method `evaluate`.

    Args:
        interval: Evaluates after every n-th epoch, of those that are validated.
        run_test: Whether to run the test split first and evaluate that. Its losses join those of
            the validation in the buffer, and the engine stays in mode `test`.
        high_keys: Metrics whose highest value is tracked as `best_<metric>`.
        low_keys: Metrics whose lowest value is tracked as `best_<metric>`.
    """

    def __init__(
        self,
        interval: int = 1,
        run_test: bool = False,
        high_keys: Sequence[str] = [],
        low_keys: Sequence[str] = [],
    ) -> None:
        super().__init__()
        self._interval = check_count(interval, 'EvalHook.interval', minimum=None)
        self._run_test = run_test
        for name, keys in (('high_keys', high_keys), ('low_keys', low_keys)):
            if isinstance(keys, str) or not isinstance(keys, Sequence):
                raise TypeError(f'EvalHook.{name} must be a list of metrics, but got {keys!r}')
        self._high_keys = high_keys
        self._low_keys = low_keys
        self._high_values: dict[str, Any] = {key: float('-inf') for key in high_keys}
        self._low_values: dict[str, Any] = {key: float('inf') for key in low_keys}

    def after_val_epoch(self, engine: Any) -> None:
        """Evaluates and updates the buffer."""
        dataset = engine.data_loaders['test'].dataset
        if not hasattr(dataset, 'evaluate') or not self._is_due(engine):
            return

        if self._run_test:
            engine.logger.info('Evaluating...')
            engine.test_epoch()

        metrics = engine.evaluate() or {}
        for key, value in metrics.items():
            engine.buffer.update(key, value)
        for key in self._high_keys:
            if key in metrics:
                if metrics[key] > self._high_values[key]:
                    self._high_values[key] = metrics[key]
                engine.buffer.update(f'best_{key}', self._high_values[key])
        for key in self._low_keys:
            if key in metrics:
                if metrics[key] < self._low_values[key]:
                    self._low_values[key] = metrics[key]
                engine.buffer.update(f'best_{key}', self._low_values[key])

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

    def _is_due(self, engine: Any) -> bool:
        late = self.every_n_epochs(engine, self._interval)
        if quirks.active('eval-interval'):
            return late
        # The engine counts an epoch as done before it validates.
        due = self._interval > 0 and engine.epoch % self._interval == 0
        if due != late:
            n = self._interval
            quirks.met(
                'eval-interval',
                engine.logger,
                f'EvalHook(interval={n}) evaluates after epochs {n}, {2 * n}, {3 * n}, ...',
            )
        return due
