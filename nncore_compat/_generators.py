"""Random generators that samplers and data sets keep for themselves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from . import _plain

_KINDS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


def found_in(*objects: Any) -> list[Any]:
    """Return the generators that objects keep, and the samplers and data sets inside them."""
    found: dict[int, Any] = {}
    _collect(objects, found, set())
    return list(found.values())


def raw_states(generators: list[Any]) -> list[Any]:
    """Return the kind and the state of each."""
    return [(type(generator).__name__, _state(generator)) for generator in generators]


def get_states(generators: list[Any]) -> list[Any]:
    """Return the kind and the state of each, as plain data and tensors."""
    states: list[Any] = _plain.state(raw_states(generators))
    return states


def set_states(generators: list[Any], states: list[Any]) -> bool:
    """Set generators to their saved states; False, and nothing done, if they are others."""
    if [type(generator).__name__ for generator in generators] != [kind for kind, _ in states]:
        return False
    for generator, (_, state) in zip(generators, states, strict=True):
        _set(generator, _plain.restored(state))
    return True


def _collect(objects: Any, found: dict[int, Any], seen: set[int]) -> None:
    for item in objects:
        if isinstance(item, _KINDS):
            found[id(item)] = item
        elif id(item) not in seen:
            seen.add(id(item))
            _collect(_parts(item), found, seen)


def _parts(item: Any) -> Iterator[Any]:
    for value in getattr(item, '__dict__', {}).values():
        if isinstance(value, (*_KINDS, Sampler, Dataset)):
            yield value
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Dataset):
            yield from value


def _state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def _set(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state.cpu())
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state
