"""Random generators: work that they are not to notice, and their states as plain data."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

# Beside the CPU's. Asking one that is not in use yet would set it up.
_DEVICES = ('cuda', 'xpu')


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """Leave the random generators as they were: some modules draw numbers when imported."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def raw_states() -> tuple[Any, Any, Any]:
    """Return the states of python, numpy and torch as these give them: quicker than plain."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def plain(raw: tuple[Any, Any, Any]) -> dict[str, Any]:
    """Turn raw states into tuples, numbers and tensors."""
    name, key, *rest = raw[1]
    return {
        'python': raw[0],
        'numpy': (name, torch.from_numpy(np.asarray(key, dtype=np.int64)), *rest),
        'torch': raw[2],
    }


def get_states() -> dict[str, Any]:
    """Return the states of the process's generators: 'python', 'numpy', 'torch' and devices."""
    states = plain(raw_states())
    for name in _DEVICES:
        device = getattr(torch, name)
        if device.is_available() and device.is_initialized():
            states[name] = device.get_rng_state()
    return states


def set_states(states: dict[str, Any]) -> None:
    """Set the process's generators to states that `get_states` has returned."""
    random.setstate(states['python'])
    name, key, *rest = states['numpy']
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    for name in _DEVICES:
        if name in states and getattr(torch, name).is_available():
            getattr(torch, name).set_rng_state(states[name].cpu())
