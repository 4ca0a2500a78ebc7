"""A device that is not the CPU, for machines that have none: tensors whose journeys are counted."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

# One that autograd needs no hardware for.
DEVICE = torch.device('lazy')
aten = torch.ops.aten


class Far(torch.Tensor):
    """A tensor on that device; its numbers are on the CPU, where only this class sees them."""

    # From the device, since the last `journeys.clear()`.
    journeys: Counter[str] = Counter()

    @staticmethod
    def __new__(cls, near):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=DEVICE,
            requires_grad=near.requires_grad,
        )

    def __init__(self, near):
        self.near = near

    def __repr__(self):
        return f'Far({self.near})'

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    target = kwargs.get('device')
    leaves = func is aten._local_scalar_dense.default
    if target is not None:
        kwargs = {**kwargs, 'device': torch.device('cpu')}
        leaves = torch.device(target).type == 'cpu'
    if func is aten.copy_.default and isinstance(args[1], Far) and not isinstance(args[0], Far):
        leaves = True
    out = func(
        *tree_map_only(Far, lambda one: one.near, args),
        **tree_map_only(Far, lambda one: one.near, kwargs),
    )
    if leaves:
        Far.journeys[str(func)] += 1
        return out
    if func._schema.is_mutable and isinstance(out, torch.Tensor):
        return args[0]
    return tree_map_only(torch.Tensor, Far, out)


class Factories(TorchDispatchMode):
    """Makes new tensors there that are asked for there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        target = kwargs.get('device')
        if target is not None and torch.device(target).type == DEVICE.type:
            return run(func, args, kwargs)
        return func(*args, **kwargs)


class OnDevice(nn.Module):
    """Mixed into a model: it is there, and stays there.

    A Trainer moves models to the device that it knows of.
    """

    def go(self):
        for module in self.modules():
            for name, param in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(Far(param.detach())))
        return self

    def _apply(self, fn, recurse=True):
        return self
