"""The metrics of an epoch, for callbacks to monitor and loggers to write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torchmetrics import MeanMetric

from .._device_values import Later, Queue, can_wait
from ..buffer import Buffer
from ..comm import all_gather, broadcast

# So many iterations wait to be summed at most.
MOST_UNSUMMED = 1000


class Averages:
    """Collects what models and evaluations return.

    In ``trainer.callback_metrics`` (and so in loggers and progress bars) these become:

    - ``train_<key>`` and ``val_<key>``: the average over the epoch of every number that the model
      returned under the key, weighted by its ``_avg_factor``, over all processes. Private keys
      (``_out``) and typed ones (``faces_images_``) are left out, as nncore's writers leave them;
      the ``loss`` that is summed from several is there. A dict of numbers gives
      ``train_<key>_<name>``. The averages of training are there when the epoch's validation begins.
    - ``train_<key>_step``: this process's value of one iteration, every ``log_every_n_steps``, for
      loggers and progress bars.
    - what ``evaluate`` returned in a validation and what hooks wrote into the buffer after it
      (``acc``, ``best_acc``), under its own name, from the main process. They are there when the
      validation ends.
    """

    def __init__(self) -> None:
        self.latest: Mapping[str, Any] | None = None
        self._sums: dict[str, dict[str, tuple[float, float]]] = {'train': {}, 'val': {}}
        self._written: dict[str, Any] = {}
        # The numbers of the latest iteration, and of those that are not summed yet: mode, weight
        # and numbers, which may be on an accelerator.
        self._numbers: list[tuple[str, Any]] = []
        self._unsummed: list[tuple[str, Any, list[tuple[str, Any]]]] = []

    def begin(self, mode: str) -> None:
        """Forget the epoch before."""
        self._sum_up()
        self._sums[mode] = {}
        self._written = {}

    def add(
        self,
        mode: str | None,
        output: Mapping[str, Any],
        kept: Mapping[str, Any],
        queue: Queue | None = None,
    ) -> None:
        """Take an output of the model.

        Args:
            mode: The engine's mode; only training and validation are averaged.
            output: What the model returned.
            kept: The same, as it is in the buffer: on the CPU, or on its way.
            queue: What brings there what is on an accelerator still.
        """
        self.latest = output
        # In a validation these are no results of it, though they came by the same way.
        for key in output if self._written else ():
            self._written.pop(key, None)
        if mode not in self._sums:
            return
        weight = kept.get('_avg_factor', 1)
        self._numbers = _taken(output, kept, queue)
        self._unsummed.append((mode, weight, self._numbers))
        waits = isinstance(weight, Later) or any(isinstance(v, Later) for _, v in self._numbers)
        if (len(self._unsummed) == 1 and not waits) or len(self._unsummed) > MOST_UNSUMMED:
            self._sum_up()

    def _sum_up(self) -> None:
        """Sum in the order of the iterations: sums depend on it."""
        unsummed, self._unsummed = self._unsummed, []
        for mode, weight, named in unsummed:
            weight, sums = float(_come(weight)), self._sums[mode]
            for key, value in named:
                number = _number(_come(value))
                if number is not None:
                    total, weights = sums.get(key, (0.0, 0.0))
                    sums[key] = total + number * weight, weights + weight

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the epochs that run."""
        self._sum_up()
        return {mode: dict(sums) for mode, sums in self._sums.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the sums of an interrupted epoch."""
        self._unsummed = []
        self._sums = {mode: dict(sums) for mode, sums in state_dict.items()}

    def output(self) -> dict[str, Any] | None:
        """Return the latest output as Lightning hands it on to callbacks, without graphs."""
        if self.latest is None:
            return None
        return {
            key: value.detach() if torch.is_tensor(value) else value
            for key, value in self.latest.items()
            # Of which it takes for granted that it can be detached.
            if key != 'loss' or torch.is_tensor(value)
        }

    def step(self) -> dict[str, float]:
        """Return the values of the latest iteration by name."""
        named = [(key, _number(_come(value))) for key, value in self._numbers]
        return {f'train_{key}_step': value for key, value in named if value is not None}

    def record(self, metrics: Mapping[str, Any]) -> None:
        """Take what an evaluation returned."""
        self._written.update(metrics)

    @contextlib.contextmanager
    def recorded(self, buffer: Buffer) -> Iterator[None]:
        """Record what is written into a buffer: a writer may clear it before the event is over."""
        before = vars(buffer).get('update')
        update = buffer.update

        def record(key: str, value: Any, *args: Any, **kwargs: Any) -> None:
            update(key, value, *args, **kwargs)
            self._written[key] = value

        vars(buffer)['update'] = record
        try:
            yield
        finally:
            del vars(buffer)['update']
            if before is not None:
                vars(buffer)['update'] = before

    def publish(self, mode: str, module: LightningModule) -> None:
        """Put the metrics of an epoch where callbacks and loggers find them.

        Args:
            mode: ``'train'`` or ``'val'``.
            module: The module whose Trainer runs.
        """
        metrics = self._results(mode, module.device)
        module.log_dict(metrics, on_step=False, on_epoch=True, prog_bar=True, batch_size=1)
        # Lightning itself would put those of training there after the validation only.
        module.trainer.callback_metrics.update(
            {key: torch.tensor(value, device=module.device) for key, value in metrics.items()}
        )

    def _results(self, mode: str, device: torch.device) -> dict[str, float]:
        self._sum_up()
        sums = self._sums[mode]
        # A process that lacks a key must take part in its average all the same.
        keys = dict.fromkeys(key for ours in all_gather(list(sums)) for key in ours)
        metrics = {f'{mode}_{key}': _mean(*sums.get(key, (0.0, 0.0)), device) for key in keys}
        if mode == 'val':
            metrics.update(broadcast(dict(numbers(self._written))))
        return metrics


def numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the single numbers under keys that are neither private nor typed records."""
    for name, item in _items(values):
        number = _number(item)
        if number is not None:
            yield name, number


def _items(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key[:1] == '_' or key[-1:] == '_':
            continue
        if isinstance(value, Mapping):
            yield from ((f'{key}_{name}', item) for name, item in value.items())
        else:
            yield key, value


def _taken(
    output: Mapping[str, Any], kept: Mapping[str, Any], queue: Queue | None
) -> list[tuple[str, Any]]:
    """Return the numbers, those that are on an accelerator as they will come."""
    named: list[tuple[str, Any]] = []
    # Within dicts, which are in the buffer as they are.
    far: dict[int, torch.Tensor] = {}
    for name, item in _items(kept):
        if isinstance(item, Later):
            if output[name].numel() == 1:
                named.append((name, item))
        elif queue is not None and can_wait(item):
            if item.numel() == 1:
                far[len(named)] = item
                named.append((name, item))
        else:
            number = _number(item)
            if number is not None:
                named.append((name, number))
    if far and queue is not None:
        for index, later in zip(far, queue.add(list(far.values())), strict=True):
            named[index] = named[index][0], later
    return named


def _come(value: Any) -> Any:
    return value.get() if isinstance(value, Later) else value


def _number(item: Any) -> float | None:
    if isinstance(item, (str, bytes)):
        return None
    try:
        return float(item)
    except (TypeError, ValueError, RuntimeError):
        # Nothing to average: boxes, masks, names.
        return None


def _mean(total: float, weight: float, device: torch.device) -> float:
    # MeanMetric drops NaN by default, which is the very thing to see; 'disable' drops weights.
    metric = MeanMetric(nan_strategy=float('nan')).to(device)
    if device.type != 'mps':
        metric.set_dtype(torch.float64)
    metric.update(total / weight if weight else 0.0, weight)
    return metric.compute().item()
