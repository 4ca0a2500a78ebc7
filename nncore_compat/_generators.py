"""Random generators that samplers and data sets keep for themselves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

_Kinds = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


def found_in(*objects: Any) -> list[Any]:
    """Return the generators that objects keep, and the samplers and data sets inside them."""
    found: dict[int, Any] = {}
    _collect(objects, found, set())
    return list(found.values())


def _collect(objects: Any, found: dict[int, Any], seen: set[int]) -> None:
    for item in objects:
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, _Kinds):
            found[id(item)] = item
        else:
            _collect(_parts(item), found, seen)


def _parts(item: Any) -> Iterator[Any]:
    for value in getattr(item, '__dict__', {}).values():
        if isinstance(value, (*_Kinds, Sampler, Dataset)):
            yield value
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Dataset):
            yield from value


def get_states(generators: list[Any]) -> list[Any]:
    """Return the generators' states: tuples, dicts, numbers and tensors."""
    return [_state(generator) for generator in generators]


def set_states(generators: list[Any], states: list[Any]) -> bool:
    """Set generators to their saved states; return whether these are the same generators."""
    same = [type(generator).__name__ for generator in generators] == [kind for kind, _ in states]
    if same:
        for generator, (_, state) in zip(generators, states, strict=True):
            _set(generator, state)
    return same


def _state(generator: Any) -> tuple[str, Any]:
    state: Any
    if isinstance(generator, torch.Generator):
        state = generator.get_state()
    elif isinstance(generator, random.Random):
        state = generator.getstate()
    elif isinstance(generator, np.random.RandomState):
        state = _plain(generator.get_state(legacy=False))
    else:
        state = _plain(generator.bit_generator.state)
    return type(generator).__name__, state


def _set(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state.cpu())
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_arrays(state))
    else:
        generator.bit_generator.state = _arrays(state)


# Numpy's states are dicts of dicts, with arrays of up to 64 bits, unsigned, and long integers.
def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return (state.dtype.name, tuple(state.tolist()))
    return state.item() if isinstance(state, np.generic) else state


def _arrays(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _arrays(value) for key, value in state.items()}
    return np.array(state[1], dtype=state[0]) if isinstance(state, tuple) else state
