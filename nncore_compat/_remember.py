"""Putting values into a buffer without waiting for an accelerator to compute them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ._device_values import Later, Queue, can_wait
from .buffer import Buffer


def queue_of(buffer: Any) -> Queue | None:
    """Return what brings values from an accelerator when a buffer is read.

    Args:
        buffer: The buffer; one of the script's own making has none.
    """
    return buffer._queue if isinstance(buffer, Buffer) else None


def remember(
    buffer: Any, values: Mapping[str, Any], convert: Callable[[Tensor], Any] | None = None
) -> dict[str, Any]:
    """Put values into a buffer, where tensors are found on the CPU.

    Args:
        buffer: The buffer.
        values: The values by key.
        convert: What is to be done with each tensor, once it is on the CPU.

    Returns:
        What is there now; what is still on an accelerator as a ``Later``.
    """
    far = [k for k, v in values.items() if isinstance(v, Tensor) and not v.is_cpu and can_wait(v)]
    laters: dict[str, Later] = {}
    if far and _waits(buffer):
        added = buffer._queue.add([values[key] for key in far], convert)
        laters = dict(zip(far, added, strict=True))
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if key in laters:
            kept[key] = laters[key]
            buffer._update_later(key, laters[key])
            continue
        if isinstance(value, Tensor):
            value = value.detach()
            if not value.is_cpu:
                value = value.cpu()
            if convert is not None:
                value = convert(value)
        kept[key] = value
        buffer.update(key, value)
    if laters:
        buffer._settle_if_held(laters)
    return kept


def _waits(buffer: Any) -> bool:
    # Whoever has put an update of their own in its place is to see the values.
    return (
        isinstance(buffer, Buffer)
        and type(buffer).update is Buffer.update
        and 'update' not in vars(buffer)
    )


def remember_numbers(buffer: Any, values: Mapping[str, Any]) -> None:
    """Put numbers into a buffer, where tensors of one number are found as floats.

    Args:
        buffer: The buffer.
        values: The numbers by key.
    """
    remember(buffer, values, Tensor.item)


def when_known(buffer: Any, tensors: Sequence[Tensor], action: Callable[[list[Any]], None]) -> None:
    """Do something with numbers: now, or if any is on an accelerator, before the buffer is read.

    Args:
        buffer: The buffer.
        tensors: The numbers.
        action: What is to be done with them.
    """
    queue = queue_of(buffer)
    far = [tensor for tensor in tensors if can_wait(tensor)]
    if queue is None or not far:
        action([tensor.item() for tensor in tensors])
        return
    laters = iter(queue.add(far, Tensor.item))
    numbers = [next(laters) if can_wait(tensor) else tensor.item() for tensor in tensors]
    queue.actions.append(
        lambda: action([one.get() if isinstance(one, Later) else one for one in numbers])
    )


def newest(buffer: Any, key: str) -> Any:
    """Return the last value of a key as it is now, None if there is none that can be seen.

    Args:
        buffer: The buffer; in one of the script's own making nothing is.
        key: The key.
    """
    values = buffer._data.get(key) if isinstance(buffer, Buffer) else None
    return values[-1] if values else None


def finish(buffer: Any) -> None:
    """Do what waits for numbers.

    Args:
        buffer: The buffer.
    """
    queue = queue_of(buffer)
    if queue is not None and queue.actions:
        queue.settle()
