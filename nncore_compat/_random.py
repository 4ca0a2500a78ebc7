"""The random generators: their states, and work that they are not to notice."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


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


def plain(python: Any, numpy: Any, torch_: torch.Tensor) -> dict[str, Any]:
    """Return states of python, numpy and torch as plain data and tensors."""
    name, keys, *rest = numpy
    return {
        'python': python,
        'numpy': (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        'torch': torch_,
    }


def get_states() -> dict[str, Any]:
    """Return the states of this process's generators, as plain data and tensors."""
    states = plain(random.getstate(), np.random.get_state(), torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states['cuda'] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states['mps'] = torch.mps.get_rng_state()
    return states


def set_states(states: dict[str, Any]) -> None:
    """Set the generators to what :func:`get_states` returned, as far as they are here."""
    random.setstate(states['python'])
    name, keys, *rest = states['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())
    if 'mps' in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states['mps'].cpu())


def seed_from(states: dict[str, Any], number: int) -> None:
    """Set the generators to states of their own, which others decide.

    Args:
        states: What :func:`get_states` returned in another process.
        number: Tells apart those that are set by the same states.
    """
    data = states['torch'].numpy().tobytes() + number.to_bytes(8, 'little')
    seed = int.from_bytes(hashlib.sha256(data).digest()[:4], 'little')
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def check(states: dict[str, Any]) -> None:
    """Try states of :func:`get_states` out on generators that nobody uses; any error is raised."""
    random.Random().setstate(states['python'])
    name, keys, *rest = states['numpy']
    np.random.RandomState().set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.Generator().set_state(states['torch'].cpu())
