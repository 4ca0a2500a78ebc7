"""Metrics of torchmetrics, from what the model puts out in validation and testing."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch

from ..builder import HOOKS
from ._evaluating import EvaluatingHook
from ._metric_inputs import Inputs, describe, to
from ._metric_states import align
from ._padding import SampleCounter, cut
from ._torchmetrics import build_metrics

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from ..engine import Engine


@HOOKS.register()
class MetricHook(EvaluatingHook):
    """Evaluates with torchmetrics, beside the data set's own `evaluate` or without one.

    The metrics are updated with each batch of a validation or a test. They have the same values in
    any number of processes: torchmetrics synchronises them, and what a `DistributedSampler` (a
    subclass as well) repeats does not count. The results go where those of `evaluate` go: into the
    buffer, and into what `Engine.launch(eval=...)` returns. When `EvalHook` runs the test split in
    a validation, they are those of the test split.

    A result that is a vector is written as `<metric>_0`, `<metric>_1`, ...; anything else that is
    no number, such as a confusion matrix, is only in `results`.

    Args:
        metrics: A torchmetrics metric or collection, its name, its config, a list of these, or a
            dict of them by the names of their results. Default names are those of torchmetrics.
        inputs: Which of the model's outputs the metrics are updated with: a key, a list of keys
            (in the order of the arguments of `update`), or a dict of keys by the names of these
            arguments. Of a single key, a list or tuple is taken for several arguments and a dict
            for named ones.
        interval: Evaluates after every n-th epoch, of those that are validated.
        high_keys: Results whose highest value is tracked as `best_<metric>`.
        low_keys: Results whose lowest value is tracked as `best_<metric>`.
        name: What the engine knows the hook by, where there are several.

    Raises:
        KeyError: A config has no `type`.
        TypeError: An argument is of the wrong type, such as something that is no metric.
        ValueError: The name of a metric is unknown, or the interval is no whole number.

    Examples:
        >>> class Scores(Net):
        ...     def forward(self, data, mode, **kwargs):
        ...         points, labels = data
        ...         output = super().forward(data, mode)
        ...         return {**output, '_scores': self.fc(points), '_labels': labels}
        >>> accuracy = {'type': 'MulticlassAccuracy', 'num_classes': 2}
        >>> hook = MetricHook({'acc': accuracy}, inputs=['_scores', '_labels'])
        >>> engine = Engine(Scores(), loaders, stages=stages, hooks=[hook])
        >>> engine.launch()
        >>> list(hook.results)
        ['acc']
    """

    _goes_before = 'EventWriterHook'

    def __init__(
        self,
        metrics: Any,
        inputs: Sequence[str] | dict[str, str] | str = '_out',
        interval: int = 1,
        high_keys: Sequence[str] = [],
        low_keys: Sequence[str] = [],
        name: str | None = None,
    ) -> None:
        super().__init__(interval, high_keys, low_keys, name)
        self._inputs = Inputs(inputs)
        self._metrics: MetricCollection = build_metrics(metrics, 'MetricHook.metrics')
        self._results: dict[str, Any] = {}
        self._due = self._running = False
        # Of the validation or test that runs.
        self._device = torch.device('cpu')
        self._counter = SampleCounter(None)
        self._batch = 0
        self._sizes: dict[str, int] = {}
        self._told: set[str] = set()

    @property
    def results(self) -> dict[str, Any]:
        """The latest results by name; what is no number is as torchmetrics returned it.

        Examples:
            >>> MetricHook('MeanMetric').results
            {}
        """
        return dict(self._results)

    def before_val_epoch(self, engine: Engine) -> None:
        """Begins anew, if the metrics are due after this epoch."""
        self._due = self._is_due(engine)
        self._running = False
        self._sizes = {key: len(values) for key, values in engine.buffer.items()}
        if self._due:
            self.begin(engine)

    def after_val_epoch(self, engine: Engine) -> None:
        """Computes the results and updates the buffer.

        Raises:
            ValueError: There is no result of the name of a high or low key.
        """
        self._running = False
        if not self._due:
            return
        results = self.compute(engine)
        numbers = {key: value for key, value in results.items() if isinstance(value, (int, float))}
        for key in results.keys() - numbers.keys():
            self._tell(
                engine,
                f'{key!r} is no number but {describe(results[key])}: it is not written, but kept '
                f'in engine.hooks[{self.name!r}].results',
            )
        if results:
            self._check_keys('high_keys', self._high_keys, numbers)
            self._check_keys('low_keys', self._low_keys, numbers)
        pairs = list(self._with_best(numbers))
        self._make_way(engine, dict(pairs))
        for key, value in pairs:
            engine.buffer.update(key, value)

    def begin(self, engine: Engine) -> None:
        """Begins anew; the engine calls this before a test.

        Args:
            engine: The engine, with the loader whose batches will come as its `data_loader`.

        Examples:
            >>> hook = MetricHook({'loss': 'MeanMetric'}, inputs='loss')
            >>> engine.data_loader = loaders['val']
            >>> hook.begin(engine)
        """
        # Where the model is: its outputs are there, and NCCL gathers from nowhere else.
        self._device = next(engine.model.parameters(), torch.empty(0)).device
        self._metrics.reset()
        self._metrics.to(self._device)
        self._counter = SampleCounter(engine.data_loader)
        self._batch = 0
        self._running = True
        # As the engine does with '_out': private keys would stay in the buffer for ever.
        for key in self._inputs.names:
            if key[:1] == '_' and key != '_avg_factor':
                engine.buffer.pop(key, None)

    def update(self, engine: Engine, output: Mapping[str, Any]) -> None:
        """Updates the metrics; the engine calls this with each batch of validation and testing.

        Args:
            engine: The engine.
            output: What the model has returned.

        Raises:
            KeyError: The model has not returned a key of `inputs`.
            RuntimeError: The metrics cannot be updated with what it returned.

        Examples:
            >>> hook = MetricHook({'loss': 'MeanMetric'}, inputs='loss')
            >>> engine.data_loader = loaders['val']
            >>> hook.begin(engine)
            >>> hook.update(engine, {'loss': torch.tensor(0.5)})
        """
        if not self._running:
            return
        self._batch += 1
        where = f'(mode {engine.mode!r}, epoch {engine.epoch}, batch {self._batch})'
        has = ', '.join(map(repr, output)) or 'nothing'
        try:
            arguments = self._inputs.take(output)
        except KeyError as error:
            raise KeyError(
                f'{self.name}: the model has returned no {error} {where}, only {has}. '
                'MetricHook.inputs says what to take'
            ) from None
        part = self._counter.next()
        if part is not None:
            size, valid = part
            if valid == 0:
                return
            arguments = cut(arguments, size, valid, lambda value: self._tell_uncut(engine, value))
        args, kwargs = to(arguments, self._device)
        try:
            self._metrics.update(*args, **kwargs)
        except Exception as error:
            given = [describe(value) for value in args]
            given += [f'{key}={describe(value)}' for key, value in kwargs.items()]
            raise RuntimeError(
                f'{self.name}: cannot update {", ".join(map(str, self._metrics))} with '
                f'({", ".join(given)}) {where}: {type(error).__name__}: {error}. MetricHook.inputs '
                f'is {self._inputs.spec!r}, and the model has returned {has}'
            ) from error

    def compute(self, engine: Engine) -> dict[str, Any]:
        """Computes the results, in all processes at once; the engine calls this after a test.

        Args:
            engine: The engine.

        Returns:
            The same as `results`.

        Examples:
            >>> hook = MetricHook({'loss': 'MeanMetric'}, inputs='loss')
            >>> engine.data_loader = loaders['val']
            >>> hook.begin(engine)
            >>> for loss in (1.0, 2.0):
            ...     hook.update(engine, {'loss': torch.tensor(loss)})
            >>> hook.compute(engine)
            {'loss': 1.5}
        """
        self._running = False
        self._results = {}
        if not align(self._metrics):
            engine.logger.warning(f'{self.name}: there are no results, as there was no batch')
            return {}
        with _quiet():
            computed = self._metrics.compute()
        self._metrics.reset()
        for key, value in computed.items():
            self._results.update(_flat(key, value))
        return self.results

    def _check_keys(self, argument: str, keys: Iterable[str], results: dict[str, Any]) -> None:
        for key in keys:
            if key not in results:
                near = get_close_matches(str(key), results, n=1)
                hint = f' Did you mean {near[0]!r}?' if near else ''
                raise ValueError(
                    f'MetricHook.{argument}: there is no result {key!r}.{hint} '
                    f'Results: {", ".join(map(repr, results))}'
                )

    def _make_way(self, engine: Engine, keys: Iterable[str]) -> None:
        """Removes what this validation has put under these keys already: it would be averaged."""
        for key in keys:
            before = self._sizes.get(key, 0)
            if len(engine.buffer.get(key, ())) > before:
                del engine.buffer.get(key)[before:]
                self._tell(
                    engine, f'{key!r} takes the place of what the model or `evaluate` calls so'
                )

    def _tell_uncut(self, engine: Engine, value: Any) -> None:
        kind = 'tensor' if torch.is_tensor(value) else type(value).__name__
        self._tell(
            engine,
            'samples that the sampler repeats count as well: the metrics are updated with a '
            f'{kind} that has not one entry for each sample of the batch',
        )

    def _tell(self, engine: Engine, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            engine.logger.warning(f'{self.name}: {message}')


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # A process that has nothing but repeated samples is never updated.
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*was called before the ``update`` method', UserWarning)
        yield


def _flat(key: str, value: Any) -> dict[str, Any]:
    if not torch.is_tensor(value):
        return {key: value}
    value = value.detach().cpu()
    if value.numel() == 1:
        return {key: value.item()}
    if value.ndim == 1:
        return {f'{key}_{index}': number for index, number in enumerate(value.tolist())}
    return {key: value}
