"""All that can be seen of an engine at one moment, each thing by its name and as words."""

from __future__ import annotations

import pickle
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .digests import text

# The counters of an engine; some come into being with the first epoch.
_COUNTERS = ('stage', 'epoch', 'iter', 'start_iter', 'max_stages', 'max_epochs', 'max_iters')
_TIME = re.compile(r'_(total|iter|data|train|val)_time')
# Up to here all tensors are looked at again and again; of larger models only what torch says it
# has changed, and all of them once per iteration.
_SMALL = 2**22


class View:
    """What has been seen of an engine.

    Args:
        engine: The engine.
        show: The name of the one thing of which the value is kept, if any.
    """

    def __init__(self, engine: Any, show: str | None = None) -> None:
        self.engine = engine
        # What the engine itself does not keep: the batch, and the gradients of the last backward.
        self.batch: Any = None
        self.gradients: dict[str, str] = {}
        self.shown: Any = None
        self._show = show
        self._known: dict[str, str] = {}
        self._texts: dict[str, tuple[Any, str]] = {}
        self._watched: set[int] = set()

    def changes(self, full: bool) -> tuple[dict[str, str], list[str]]:
        """Return what is new since the last time, and what is gone.

        Args:
            full: Whether to look at all tensors, and not only at those that torch says it has
                written to (it does not know of ``.data``).
        """
        self._watch_gradients()
        now = {key: self._text(key, value) for key, value in _light(self.engine)}
        now['engine.hooks'] = ', '.join(self.engine.hooks)
        if self.batch is not None:
            now.update((key, self._text(key, value)) for key, value in _parts(self.batch))
        now.update(self.gradients)
        heavy = dict(_heavy(self.engine))
        full = full or sum(t.numel() * t.element_size() for t in heavy.values()) <= _SMALL
        for key, tensor in heavy.items():
            now[key] = self._tensor(key, tensor, full)
        now.update(_random())
        known, self._known = self._known, now
        changed = {key: value for key, value in now.items() if known.get(key) != value}
        return changed, [key for key in known if key not in now]

    def _text(self, key: str, value: Any) -> str:
        if key == self._show:
            self._keep(value)
        return text(value)

    def _tensor(self, key: str, tensor: torch.Tensor, full: bool) -> str:
        if key == self._show:
            self._keep(tensor)
        version = None if tensor.is_inference() else tensor._version
        mark = (id(tensor), tensor.data_ptr() if tensor.layout is torch.strided else 0, version)
        known = self._texts.get(key)
        if full or version is None or known is None or known[0] != mark:
            known = self._texts[key] = mark, text(tensor)
        return known[1]

    def _keep(self, value: Any) -> None:
        kept = isinstance(value, torch.Tensor)
        self.shown = value.detach().clone() if kept else np.copy(value) if _array(value) else None

    def _watch_gradients(self) -> None:
        # They are gone when hooks come to see them: OptimizerHook has used them by then.
        for name, param in self.engine.model.named_parameters():
            if param.requires_grad and param.is_leaf and id(param) not in self._watched:
                self._watched.add(id(param))
                key = f'gradient of model.{name}'

                def note(param: torch.Tensor, key: str = key) -> None:
                    self.gradients[key] = self._text(key, param.grad)

                param.register_post_accumulate_grad_hook(note)


def _array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype != object


def _light(engine: Any) -> Iterator[tuple[str, Any]]:
    for name in (*_COUNTERS, 'mode'):
        yield f'engine.{name}', getattr(engine, name, None)
    yield 'model.training', engine.model.training
    yield 'torch.is_grad_enabled()', torch.is_grad_enabled()
    for index, group in enumerate(getattr(_optimizer(engine), 'param_groups', ())):
        yield f'learning rate of group {index}', group.get('lr')
    for key, value in (getattr(engine, 'losses', None) or {}).items():
        yield f'losses[{key!r}]', value
    for key in list(engine.buffer.keys()):
        count = engine.buffer.count(key)
        if count and not _TIME.fullmatch(key):
            yield f'buffer[{key!r}][-1]', engine.buffer.latest(key)
        yield f'len(buffer[{key!r}])', count


def _optimizer(engine: Any) -> Any:
    return getattr(engine, 'optimizer', None)


def _parts(batch: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(batch, dict):
        items: Any = batch.items()
    elif isinstance(batch, (list, tuple)):
        items = enumerate(batch)
    else:
        yield 'batch', batch
        return
    for key, value in items:
        yield f'batch[{key!r}]', value


def _heavy(engine: Any) -> Iterator[tuple[str, torch.Tensor]]:
    names = {}
    for name, param in engine.model.named_parameters():
        names[id(param)] = f'model.{name}'
        yield f'model.{name}', param
    for name, buffer in engine.model.named_buffers():
        yield f'model.{name}', buffer
    state = getattr(_optimizer(engine), 'state', None)
    for param, values in state.items() if isinstance(state, dict) else ():
        for key, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, torch.Tensor):
                yield f"optimizer's {key} of {names.get(id(param), '?')}", value


def _random() -> Iterator[tuple[str, str]]:
    _, keys, *rest = np.random.get_state()
    yield "random state of Python's random", text(pickle.dumps(random.getstate()))
    yield 'random state of numpy', text([keys, rest])
    yield 'random state of torch', text(torch.get_rng_state())
    if torch.cuda.is_initialized():
        yield 'random state of CUDA', text(torch.cuda.get_rng_state())
