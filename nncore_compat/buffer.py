"""The values that models and hooks produce, and their averages over a window."""

import logging
from collections import OrderedDict
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from typing import Any

import torch

from ._logging import log

_NOTHING: Any = object()


class Buffer:
    """Keeps the latest values of each key.

    Keys that begin with an underscore are private: they are never cut to the maximum size.

    Args:
        max_size: The number of values kept for a key; the oldest go first.
        logger: The logger, or its name, for the warning about values that go.

    Raises:
        TypeError: If ``max_size`` is not an integer.
        ValueError: If ``max_size`` is less than 1.
    """

    def __init__(self, max_size: int = 100000, logger: logging.Logger | str | None = None) -> None:
        if not isinstance(max_size, int) or isinstance(max_size, bool):
            raise TypeError(f'Buffer: max_size must be a positive integer, but got {max_size!r}')
        if max_size < 1:
            raise ValueError(f'Buffer: max_size must be a positive integer, but got {max_size}')
        self._max_size = max_size
        self._logger = logger
        self._data: OrderedDict[str, list[Any]] = OrderedDict()

    @property
    def max_size(self) -> int:
        """The number of values kept for a key."""
        return self._max_size

    def get(self, key: str, default: Any = None) -> Any:
        """Return the list of all values of a key, or the default."""
        return self._data.get(key, default)

    def pop(self, key: str, default: Any = _NOTHING) -> Any:
        """Remove a key and return the list of its values, or the default if one is given."""
        if default is _NOTHING:
            self._values(key)
        return self._data.pop(key, default)

    def keys(self) -> KeysView[str]:
        """Return the keys, oldest first."""
        return self._data.keys()

    def values(self) -> ValuesView[list[Any]]:
        """Return the lists of values."""
        return self._data.values()

    def items(self) -> ItemsView[str, list[Any]]:
        """Return pairs of a key and the list of its values."""
        return self._data.items()

    def update(self, key: str, value: Any, warning: bool = True) -> None:
        """Add a value, in place of the oldest one if the key is full.

        Args:
            key: The key.
            value: The value.
            warning: Whether to log that the oldest value goes.
        """
        values = self._data.setdefault(key, [])
        if len(values) == self._max_size and not key.startswith('_'):
            if warning:
                log(
                    f"Number of '{key}' values in the buffer exceeds max size "
                    f'({self._max_size}), removing the oldest element',
                    logger=self._logger,
                    log_level=logging.WARNING,
                )
            values.pop(0)
        values.append(value)

    def count(self, key: str) -> int:
        """Return the number of values of a key."""
        return len(self._values(key))

    def clear(self) -> None:
        """Remove all keys."""
        self._data = OrderedDict()

    def latest(self, key: str) -> Any:
        """Return the last value of a key."""
        return self._values(key)[-1]

    def median(self, key: str, window_size: int | None = None) -> Any:
        """Return the median of the latest values.

        Args:
            key: The key.
            window_size: How many values count, all if None.

        Returns:
            A float, or a dict of floats if the values are dicts.
        """
        return self._reduce(key, window_size, torch.Tensor.median)

    def mean(self, key: str, window_size: int | None = None) -> Any:
        """Return the mean of the latest values.

        Args:
            key: The key.
            window_size: How many values count, all if None.

        Returns:
            A float, or a dict of floats if the values are dicts.
        """
        return self._reduce(key, window_size, torch.Tensor.mean)

    def sum(self, key: str, window_size: int | None = None) -> Any:
        """Return the sum of the latest values.

        Args:
            key: The key.
            window_size: How many values count, all if None.

        Returns:
            A float, or a dict of floats if the values are dicts.
        """
        return self._reduce(key, window_size, torch.Tensor.sum)

    def avg(self, key: str, factor: str = '_avg_factor', window_size: int | None = None) -> Any:
        """Return the mean of the latest values, each weighted with its number of samples.

        Args:
            key: The key.
            factor: The key of the numbers of samples.
            window_size: How many values count, all if None.

        Returns:
            A float, or a dict of floats if the values are dicts.

        Raises:
            KeyError: If there is no such key, or no numbers of samples.
            ValueError: If some values have no number of samples.
        """
        span = self._span(key, window_size)
        if factor not in self._data:
            raise KeyError(
                f"cannot average {key!r}: the model's output lacks {factor!r}, return the number "
                f'of samples in the batch under this key from forward (got: {self._names()})'
            )
        weights = torch.Tensor(self._data[factor][span])
        lengths = {len(weights), len(self._data[key][span])}
        if len(lengths) > 1 and 1 not in lengths:
            raise ValueError(
                f'cannot average {self.count(key)} values of {key!r} with {self.count(factor)} of '
                f'{factor!r}: the model must return both for every batch'
            )
        return self._reduce(key, window_size, lambda data: (data * weights).sum() / weights.sum())

    def _values(self, key: str) -> list[Any]:
        if key not in self._data:
            raise KeyError(f'no values of {key!r} in the buffer (got: {self._names()})')
        return self._data[key]

    def _names(self) -> str:
        return ', '.join(repr(key) for key in self._data) or 'nothing'

    def _span(self, key: str, window_size: int | None) -> slice:
        count = self.count(key)
        return slice(-(count if window_size is None else min(window_size, count)), None)

    def _reduce(
        self, key: str, window_size: int | None, func: Callable[[torch.Tensor], torch.Tensor]
    ) -> Any:
        # Always torch.Tensor, so float32 whatever the values are: results are part of the API.
        values = self._values(key)[self._span(key, window_size)]
        if not isinstance(values[0], dict):
            return func(torch.Tensor(values)).item()
        if any(value.keys() != values[0].keys() for value in values):
            raise ValueError(f'the dicts of {key!r} in the buffer have different keys')
        return {k: func(torch.Tensor([value[k] for value in values])).item() for k in values[0]}
