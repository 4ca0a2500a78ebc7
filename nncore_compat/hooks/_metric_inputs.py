"""What metrics are updated with: a choice of what the model has returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Inputs:
    """Takes the arguments of `update` from a model's output.

    Args:
        keys: A key, a list of keys, or a dict of keys by the names of arguments.

    Raises:
        TypeError: For anything else.
    """

    def __init__(self, keys: Any) -> None:
        self.spec = keys
        names = list(keys.values()) if isinstance(keys, dict) else keys
        names = [names] if isinstance(names, str) else names
        texts = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
        if not texts or not names:
            raise TypeError(
                'MetricHook.inputs must be a key of what the model returns, a list of keys, or a '
                f"dict of keys by the names of update's arguments, but got {keys!r}"
            )
        self.names: list[str] = names

    def take(self, output: Mapping[str, Any]) -> Arguments:
        """Returns positional and named arguments.

        Raises:
            KeyError: The output lacks a key; this is the error's argument.
        """
        for name in self.names:
            if name not in output:
                raise KeyError(name)
        if isinstance(self.spec, dict):
            return (), {argument: output[name] for argument, name in self.spec.items()}
        if not isinstance(self.spec, str):
            return tuple(output[name] for name in self.spec), {}
        value = output[self.spec]
        if isinstance(value, dict):
            return (), value
        return tuple(value) if isinstance(value, (list, tuple)) else (value,), {}


def to(value: Any, device: torch.device) -> Any:
    """Returns tensors, and those in tuples, lists and dicts, on a device."""
    if torch.is_tensor(value):
        return value.to(device)
    if isinstance(value, dict):
        return {key: to(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [to(item, device) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def describe(value: Any) -> str:
    """Returns what a value is, in a few words."""
    if torch.is_tensor(value):
        return f'a tensor of shape {tuple(value.shape)}'
    if isinstance(value, (list, tuple)):
        return f'a {type(value).__name__} of {len(value)}'
    if isinstance(value, dict):
        return f'a dict of {", ".join(map(repr, value))}'
    return f'{value!r:.40}'
