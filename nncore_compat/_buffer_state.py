"""The values of a buffer as part of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from . import _plain
from .buffer import Buffer

# So many values of each key are kept: those that begin with an underscore are never cut.
WINDOW = 10_000


def collect(buffer: Buffer) -> dict[str, Any]:
    """Return the latest values of each key, as far as they are plain data."""
    states = {}
    for key, values in buffer.items():
        if key == '_out':
            # Taken anew by the validation or test that wants it.
            continue
        try:
            states[key] = _packed(values[-WINDOW:])
        except TypeError:
            # A figure, say: it is for the writer of this very moment.
            continue
    return states


def _packed(values: list[Any]) -> Any:
    """Many numbers are kept as one tensor."""
    if all(type(value) is float for value in values):
        return torch.tensor(values, dtype=torch.float64)
    if all(type(value) is torch.Tensor and value.dim() == 0 for value in values) and (
        len({(value.dtype, value.device) for value in values}) == 1
    ):
        return {'tensors': torch.stack(values).cpu()}
    return _plain.state(values)


def restore(buffer: Buffer, states: dict[str, Any]) -> None:
    """Fill a buffer with the values that :func:`collect` returned."""
    buffer.clear()
    for key, packed in states.items():
        values: Iterable[Any]
        if torch.is_tensor(packed):
            values = packed.tolist()
        elif isinstance(packed, dict):
            values = packed['tensors'].unbind()
        else:
            values = _plain.restored(packed)
        for value in values:
            buffer.update(key, value, warning=False)
