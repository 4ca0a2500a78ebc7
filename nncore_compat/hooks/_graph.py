"""The model's graph for TensorBoard, traced without changing anything in the run."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from ..engine import Engine


def add_graph(writer: Any, engine: Engine, source: Any) -> None:
    """Writes the graph of the engine's model, or logs why there is none.

    Args:
        writer: The `SummaryWriter`.
        engine: The engine.
        source: A batch, a data loader, or the name of one of the engine's loaders.

    Raises:
        KeyError: When the engine has no such loader.
    """
    mode = source if isinstance(source, str) else 'train'
    if isinstance(source, str):
        if source not in engine.data_loaders:
            raise KeyError(
                f'no data loader {source!r} (TensorboardWriter.input_to_model). '
                f'Accepted: {", ".join(map(repr, engine.data_loaders))}'
            )
        source = engine.data_loaders[source]

    with _random_states_kept(source), _model_kept(engine.model), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the tracer's, about sizes that become constants
        try:
            batch = _first_batch(source) if hasattr(source, 'dataset') else source
            traceable = _Traceable(engine.model, batch, {'mode': mode, **engine.kwargs})
            # SummaryWriter prints the error that it raises.
            with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
                writer.add_graph(traceable, traceable.tensors)
        except Exception as error:
            engine.logger.warning(
                'TensorBoard gets no graph (TensorboardWriter.input_to_model), because the model '
                f'cannot be traced: {type(error).__name__}: {error}'
            )


class _Traceable(torch.nn.Module):
    """The model as the tracer wants it: tensors in, tensors out."""

    def __init__(self, model: torch.nn.Module, batch: Any, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._batch = batch
        self._kwargs = kwargs
        param = next(model.parameters(), None)
        device = torch.device('cpu') if param is None else param.device
        # Copies, because a model may work in place.
        self.tensors = tuple(t.detach().to(device).clone() for t in _tensors(batch))

    def train(self, mode: bool = True) -> _Traceable:
        """Does nothing: the tracer would leave all layers in the same mode."""
        return self

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Runs the model on the batch with other tensors in it."""
        output = self.model(_with_tensors(self._batch, iter(tensors)), **self._kwargs)
        return tuple(_tensors(output))


def _tensors(data: Any) -> Iterator[torch.Tensor]:
    if torch.is_tensor(data):
        yield data
    elif isinstance(data, (dict, list, tuple)):
        for item in data.values() if isinstance(data, dict) else data:
            yield from _tensors(item)


def _with_tensors(data: Any, tensors: Iterator[torch.Tensor]) -> Any:
    if torch.is_tensor(data):
        return next(tensors)
    if isinstance(data, dict):
        filled = copy.copy(data)
        filled.update((key, _with_tensors(item, tensors)) for key, item in data.items())
        return filled
    if isinstance(data, (list, tuple)):
        items = [_with_tensors(item, tensors) for item in data]
        return type(data)(*items) if hasattr(data, '_fields') else type(data)(items)
    return data


def _first_batch(loader: Any) -> Any:
    # From a copy, as a loader keeps persistent workers, with the seeds of their first iteration.
    return next(iter(copy.copy(loader) if isinstance(loader, DataLoader) else loader))


@contextlib.contextmanager
def _random_states_kept(source: Any) -> Iterator[None]:
    sampler = getattr(source, 'sampler', None)
    owners = [getattr(owner, 'generator', None) for owner in (source, sampler)]
    states = [(g, g.get_state()) for g in owners if isinstance(g, torch.Generator)]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, state in states:
            generator.set_state(state)


@contextlib.contextmanager
def _model_kept(model: torch.nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training
        for module, name, buffer, value in buffers:
            with torch.no_grad():
                module._buffers[name] = buffer.copy_(value)
