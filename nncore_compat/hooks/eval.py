"""Metrics of the data set's own `evaluate` method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..builder import HOOKS
from ._evaluating import EvaluatingHook

if TYPE_CHECKING:
    from ..engine import Engine


@HOOKS.register()
class EvalHook(EvaluatingHook):
    """Evaluates after a validation, when the test data set has a method `evaluate`.

    Args:
        interval: Evaluates after every n-th epoch, of those that are validated.
        run_test: Whether to run the test split first and evaluate that. Its losses join those of
            the validation in the buffer, and the engine stays in mode `test`.
        high_keys: Metrics whose highest value is tracked as `best_<metric>`.
        low_keys: Metrics whose lowest value is tracked as `best_<metric>`.

    Raises:
        TypeError, ValueError: `interval` is no whole number, or the keys are no list.
        ValueError: For an interval below 1.

    Examples:
        >>> hook = {'type': 'EvalHook', 'high_keys': ['acc']}
        >>> engine = Engine(model, loaders, stages=stages, hooks=[hook])
        >>> best = ClosureHook('after_val_epoch', lambda e: print('best_acc' in e.buffer.keys()))
        >>> engine.register_hook(best, before='EventWriterHook')
        >>> engine.launch()
        True
        True
    """

    def __init__(
        self,
        interval: int = 1,
        run_test: bool = False,
        high_keys: Sequence[str] = [],
        low_keys: Sequence[str] = [],
    ) -> None:
        super().__init__(interval, high_keys, low_keys)
        self._run_test = run_test

    def after_val_epoch(self, engine: Engine) -> None:
        """Evaluates and updates the buffer."""
        dataset = engine.data_loaders['test'].dataset
        if not hasattr(dataset, 'evaluate') or not self._is_due(engine):
            return

        if self._run_test:
            engine.logger.info('Evaluating...')
            engine.test_epoch()

        for key, value in self._with_best(engine.evaluate() or {}):
            engine.buffer.update(key, value)
