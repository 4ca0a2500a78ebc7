"""How often a training waits for the device."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from ..clock import Clock


def count(spec: dict[str, Any]) -> dict[str, float]:
    """Waits per training iteration.

    On a GPU these are the warnings of ``torch.cuda.set_sync_debug_mode``. On the CPU, those that
    there would be if the model were on a device: values that Python reads (`item`, `float`,
    `bool`) of what was computed from parameters, and copies of it to the host; not what is read of
    such a copy. It is counted in calls: what C++ does by itself is not seen.
    """
    counter: Any = _Warnings() if spec['device'] == 'cuda' else _Pretended()
    seen: list[int] = []
    clock = Clock(
        spec['skip'], spec['iters'], spec['device'], at_edge=lambda: seen.append(counter.waits)
    )
    train = importlib.import_module(f'benchmarks.contestants.{spec["kind"]}').train
    with counter:
        train(spec, clock)
    return {'syncs': (seen[1] - seen[0]) / spec['iters']}


class _Warnings:
    def __init__(self) -> None:
        self.waits = 0

    def __enter__(self) -> None:
        self._catch = warnings.catch_warnings()
        self._catch.__enter__()
        warnings.simplefilter('always')
        warnings.showwarning = self._note
        torch.cuda.set_sync_debug_mode('warn')

    def __exit__(self, *error: object) -> None:
        torch.cuda.set_sync_debug_mode('default')
        self._catch.__exit__(*error)

    def _note(self, message: Any, *args: Any, **kwargs: Any) -> None:
        self.waits += 'synchroniz' in str(message)


class _Pretended:
    """Takes parameters and all that is computed from them for tensors of a device."""

    def __init__(self) -> None:
        self.waits = 0
        # by identity: tensors compare by value
        self._on_device = WeakTensorKeyDictionary()
        self._modes = (_Calls(self), _Reads(self))

    def __enter__(self) -> None:
        for mode in self._modes:
            mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def is_on_device(self, *values: Any) -> bool:
        """Whether there is a tensor of the device among the values."""
        return any(isinstance(t, nn.Parameter) or t in self._on_device for t in _tensors(values))

    def now_on_device(self, *values: Any) -> None:
        """Take the tensors among the values for tensors of the device."""
        for tensor in _tensors(values):
            self._on_device[tensor] = True


class _Calls(TorchFunctionMode):
    """Sees what is computed, and copies to the host, which do nothing on the CPU."""

    def __init__(self, counter: _Pretended) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        on_device = self._counter.is_on_device(args, kwargs)
        result = func(*args, **(kwargs or {}))
        if not on_device:
            return result
        if func is torch.Tensor.cpu or (func is torch.Tensor.to and _to_cpu(args, kwargs)):
            self._counter.waits += 1
            return result.clone()
        if func in (torch.Tensor.tolist, torch.Tensor.numpy):
            self._counter.waits += 1
        self._counter.now_on_device(result)
        return result


class _Reads(TorchDispatchMode):
    """Sees values that Python reads."""

    def __init__(self, counter: _Pretended) -> None:
        super().__init__()
        self._counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        scalar = func is torch.ops.aten._local_scalar_dense.default
        self._counter.waits += scalar and self._counter.is_on_device(args)
        return func(*args, **(kwargs or {}))


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _to_cpu(args: Any, kwargs: Any) -> bool:
    given = [*args[1:], *(kwargs or {}).values()]
    return any(str(value) == 'cpu' for value in given if isinstance(value, (str, torch.device)))
