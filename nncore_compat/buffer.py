"""The values that models and hooks produce, and their averages over a window."""

import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterable, KeysView, ValuesView
from typing import Any

import torch

from ._device_values import Later, Queue, can_wait
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

    Examples:
        >>> buffer = Buffer(max_size=3)
        >>> for value in (4.0, 3.0, 2.0, 1.0):
        ...     buffer.update('loss', value, warning=False)
        >>> buffer.get('loss')
        [3.0, 2.0, 1.0]
        >>> buffer.mean('loss', window_size=2)
        1.5
    """

    def __init__(self, max_size: int = 100000, logger: logging.Logger | str | None = None) -> None:
        if not isinstance(max_size, int) or isinstance(max_size, bool):
            raise TypeError(f'Buffer: max_size must be a positive integer, but got {max_size!r}')
        if max_size < 1:
            raise ValueError(f'Buffer: max_size must be a positive integer, but got {max_size}')
        self._max_size = max_size
        self._logger = logger
        self._data: OrderedDict[str, list[Any]] = OrderedDict()
        # How many at the head of a list count as gone: to take each out would move all the others.
        self._gone: dict[str, int] = {}
        # How many these may be. The others of a short list are moved in no time.
        self._spare = max_size // 64 if max_size > 1000 else 0
        # How many of a list are still on an accelerator.
        self._waiting: dict[str, int] = {}
        self._queue = Queue()

    @property
    def max_size(self) -> int:
        """The number of values kept for a key.

        Examples:
            >>> Buffer(max_size=500).max_size
            500
        """
        return self._max_size

    def get(self, key: str, default: Any = None) -> Any:
        """Return the list of all values of a key, or the default.

        Args:
            key: The key.
            default: What to return where there is no such key.

        Returns:
            The list itself, the oldest value first.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> buffer.get('loss'), buffer.get('acc', [])
            ([0.5], [])
        """
        return self._complete(key) if key in self._data else default

    def pop(self, key: str, default: Any = _NOTHING) -> Any:
        """Remove a key and return the list of its values, or the default if one is given.

        Args:
            key: The key.
            default: What to return where there is no such key.

        Returns:
            The list, the oldest value first.

        Raises:
            KeyError: If there is neither the key nor a default.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> buffer.pop('loss'), buffer.pop('loss', None)
            ([0.5], None)
        """
        if default is _NOTHING or key in self._data:
            self._complete(key)
        return self._data.pop(key, default)

    def keys(self) -> KeysView[str]:
        """Return the keys, oldest first.

        Returns:
            A view, as of a dict.

        Examples:
            >>> engine.launch()
            >>> '_total_time' in engine.buffer.keys()
            True
        """
        return self._data.keys()

    def values(self) -> ValuesView[list[Any]]:
        """Return the lists of values.

        Returns:
            A view, as of a dict.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> list(buffer.values())
            [[0.5]]
        """
        for key in self._data:
            self._complete(key)
        return self._data.values()

    def items(self) -> ItemsView[str, list[Any]]:
        """Return pairs of a key and the list of its values.

        Returns:
            A view, as of a dict.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> list(buffer.items())
            [('loss', [0.5])]
        """
        for key in self._data:
            self._complete(key)
        return self._data.items()

    def update(self, key: str, value: Any, warning: bool = True) -> None:
        """Add a value, in place of the oldest one if the key is full.

        Args:
            key: The key.
            value: The value; to be averaged, a number or a dict of numbers.
            warning: Whether to log that the oldest value goes.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> buffer.update('losses', {'cls': 0.3, 'box': 0.2})
            >>> buffer.latest('losses')['box']
            0.2
        """
        if key not in self._data:
            self._data[key] = []
        elif len(self._data[key]) >= self._max_size and not key.startswith('_'):
            self._make_room(key, warning)
        self._data[key].append(value)

    def count(self, key: str) -> int:
        """Return the number of values of a key.

        Args:
            key: The key.

        Returns:
            How many there are; 0 is never returned.

        Raises:
            KeyError: If there is no such key.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> buffer.count('loss')
            1
        """
        if key not in self._data:
            raise self._unknown(key)
        return len(self._data[key]) - self._gone.get(key, 0)

    def clear(self) -> None:
        """Remove all keys.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> buffer.clear()
            >>> 'loss' in buffer.keys()
            False
        """
        self._data = OrderedDict()
        self._gone = {}
        self._waiting = {}

    def latest(self, key: str) -> Any:
        """Return the last value of a key.

        Args:
            key: The key.

        Returns:
            The value as it was put in.

        Raises:
            KeyError: If there is no such key.

        Examples:
            >>> buffer = Buffer()
            >>> buffer.update('loss', 0.5)
            >>> buffer.latest('loss')
            0.5
        """
        return self._values(key)[-1]

    def median(self, key: str, window_size: int | None = None) -> Any:
        """Return the median of the latest values; the lower one of two in the middle.

        Args:
            key: The key.
            window_size: How many values count, all if None.

        Returns:
            A float, computed in float32, or a dict of floats if the values are dicts.

        Raises:
            KeyError: If there is no such key.

        Examples:
            >>> buffer = Buffer()
            >>> for value in (1.0, 2.0, 9.0):
            ...     buffer.update('loss', value)
            >>> buffer.median('loss')
            2.0
        """
        return self._reduce(key, window_size, torch.Tensor.median)

    def mean(self, key: str, window_size: int | None = None) -> Any:
        """Return the mean of the latest values.

        Args:
            key: The key.
            window_size: How many values count, all if None.

        Returns:
            A float, computed in float32, or a dict of floats if the values are dicts.

        Raises:
            KeyError: If there is no such key.

        Examples:
            >>> buffer = Buffer()
            >>> for value in (1.0, 2.0, 9.0):
            ...     buffer.update('loss', value)
            >>> buffer.mean('loss'), buffer.mean('loss', window_size=2)
            (4.0, 5.5)
        """
        return self._reduce(key, window_size, torch.Tensor.mean)

    def sum(self, key: str, window_size: int | None = None) -> Any:
        """Return the sum of the latest values.

        Args:
            key: The key.
            window_size: How many values count, all if None.

        Returns:
            A float, computed in float32, or a dict of floats if the values are dicts.

        Raises:
            KeyError: If there is no such key.

        Examples:
            >>> buffer = Buffer()
            >>> for value in (1.0, 2.0, 9.0):
            ...     buffer.update('loss', value)
            >>> buffer.sum('loss')
            12.0
        """
        return self._reduce(key, window_size, torch.Tensor.sum)

    def avg(self, key: str, factor: str = '_avg_factor', window_size: int | None = None) -> Any:
        """Return the mean of the latest values, each weighted with its number of samples.

        It is `sum(value * samples) / sum(samples)`: the mean over samples of a loss that the model
        averages over each batch, where the batches are of different sizes.

        Args:
            key: The key.
            factor: The key of the numbers of samples.
            window_size: How many values count, all if None.

        Returns:
            A float, computed in float32, or a dict of floats if the values are dicts.

        Raises:
            KeyError: If there is no such key, or no numbers of samples.
            ValueError: If some values have no number of samples.

        Examples:
            >>> buffer = Buffer()
            >>> for loss, samples in ((1.0, 32), (4.0, 16)):
            ...     buffer.update('loss', loss)
            ...     buffer.update('_avg_factor', samples)
            >>> buffer.avg('loss'), buffer.mean('loss')
            (2.0, 2.5)
        """
        values = self._last(key, window_size)
        if factor not in self._data:
            raise KeyError(
                f"cannot average {key!r}: the model's output lacks {factor!r}, return the number "
                f'of samples in the batch under this key from forward (got: {self._names()})'
            )
        if window_size is None or window_size > 0:
            window_size = len(values)
        weights = _tensor(self._last(factor, window_size))
        if len(weights) != len(values) and 1 not in (len(weights), len(values)):
            raise ValueError(
                f'cannot average {self.count(key)} values of {key!r} with {self.count(factor)} of '
                f'{factor!r}: the model must return both for every batch'
            )
        total = weights.sum()
        return _reduced(key, values, lambda data: (data * weights).sum() / total)

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return vars(self)

    def _update_later(self, key: str, value: Later) -> None:
        """Add a value that is still on an accelerator."""
        self.update(key, value)
        self._waiting[key] = self._waiting.get(key, 0) + 1

    def _settle_if_held(self, keys: Iterable[str]) -> None:
        if any(self._is_held(key) for key in keys):
            self._settle()

    def _values(self, key: str) -> list[Any]:
        """Return the list of a key, with all values on the CPU, and whoever waits told of his."""
        values = self._data.get(key)
        if values is None:
            raise self._unknown(key)
        if key in self._waiting or self._queue.actions:
            self._settle()
        return values

    def _complete(self, key: str) -> list[Any]:
        """Return the list of a key as it may be handed out."""
        values = self._values(key)
        del values[: self._gone.pop(key, 0)]
        return values

    def _last(self, key: str, window_size: int | None) -> list[Any]:
        values = self._values(key)
        count = len(values) - self._gone.get(key, 0)
        window = count if window_size is None else min(window_size, count)
        # With 0 these are all, as ever.
        return values[-window:] if window > 0 else self._complete(key)[-window:]

    def _unknown(self, key: str) -> KeyError:
        return KeyError(f'no values of {key!r} in the buffer (got: {self._names()})')

    def _names(self) -> str:
        return ', '.join(repr(key) for key in self._data) or 'nothing'

    def _make_room(self, key: str, warning: bool) -> None:
        gone = self._gone.get(key, 0) if self._spare else 0
        if len(self._data[key]) - gone != self._max_size:
            # A script has made the list longer, and is free to.
            return
        if warning:
            log(
                f"Number of '{key}' values in the buffer exceeds max size "
                f'({self._max_size}), removing the oldest element',
                logger=self._logger,
                log_level=logging.WARNING,
            )
        if not self._spare:
            del self._data[key][0]
        elif gone < self._spare and not self._is_held(key):
            self._gone[key] = gone + 1
        else:
            del self._data[key][: gone + 1]
            self._gone[key] = 0

    def _is_held(self, key: str) -> bool:
        """Tell whether a script has kept the list of a key, or all: it sees each change at once."""
        return (
            sys.getrefcount(self._data[key]) > _UNSHARED or sys.getrefcount(self._data) > _UNSHARED
        )

    def _settle(self) -> None:
        """Put what is still on an accelerator into its place."""
        self._queue.settle()
        for key, count in self._waiting.items():
            values = self._data.get(key, [])
            index = len(values)
            while count and index:
                index -= 1
                if type(values[index]) is Later:
                    values[index] = values[index].get()
                    count -= 1
        self._waiting.clear()

    def _reduce(
        self, key: str, window_size: int | None, func: Callable[[torch.Tensor], torch.Tensor]
    ) -> Any:
        return _reduced(key, self._last(key, window_size), func)


def _reduced(key: str, values: list[Any], func: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if not isinstance(values[0], dict):
        return func(_tensor(values)).item()
    if any(value.keys() != values[0].keys() for value in values):
        raise ValueError(f'the dicts of {key!r} in the buffer have different keys')
    return {k: func(_tensor([value[k] for value in values])).item() for k in values[0]}


def _tensor(values: list[Any]) -> torch.Tensor:
    # Always torch.Tensor, so float32 whatever the values are: results are part of the API.
    if values and can_wait(values[0]):
        # What a script has put there itself: in one go too.
        kinds = {(v.shape, v.dtype, v.device) if can_wait(v) else None for v in values}
        if len(kinds) == 1:
            values = list(torch.stack(values).cpu())
    return torch.Tensor(values)


def _references(holder: dict[str, list[Any]], key: str) -> int:
    return sys.getrefcount(holder[key])


# Of something that nothing but a dict or an object refers to.
_UNSHARED = _references({'': []}, '')
