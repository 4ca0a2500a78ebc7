"""States of metrics that differ in form between processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from ..comm import all_gather, get_world_size


def align(metrics: nn.Module) -> bool:
    """Gives the states of all processes a form that torchmetrics can synchronise.

    torchmetrics gathers the entries of a list one by one, and takes for granted that every process
    has as many, of the same kind. A process that has been updated less often, or never, would hang
    or spoil the result: it gets empty entries.

    Args:
        metrics: The metrics. All processes must call this.

    Returns:
        Whether any process has updated them.
    """
    from torchmetrics import Metric

    own = [module for module in metrics.modules() if isinstance(module, Metric)]
    updated = any(metric.update_called for metric in own)
    if get_world_size() == 1:
        return updated

    forms = [{name: _form(state) for name, state in metric.metric_state.items()} for metric in own]
    everyone = all_gather((updated, forms))
    for index, metric in enumerate(own):
        for name, state in metric.metric_state.items():
            theirs = [forms[index][name] for _, forms in everyone]
            if all(form == theirs[0] for form in theirs):
                continue
            if isinstance(state, list):
                _fill(state, theirs, metric.device)
            elif not updated:
                # The start value takes the shape that the first update would have given to it.
                shape = next(forms[index][name].shape for updated, forms in everyone if updated)
                setattr(metric, name, state.expand(shape).clone())
    return any(updated for updated, _ in everyone)


class _Form(NamedTuple):
    """The number of entries of a state, and what one of them is."""

    entries: int
    kind: Any = None
    shape: tuple[int, ...] = ()


def _form(state: Any) -> _Form:
    if not isinstance(state, list):
        return _Form(1, state.dtype, tuple(state.shape))
    first = state[0] if state else None
    if torch.is_tensor(first):
        return _Form(len(state), first.dtype, tuple(first.shape[1:]))
    return _Form(len(state), type(first))


def _fill(state: list[Any], theirs: list[_Form], device: torch.device) -> None:
    model = next(form for form in theirs if form.entries)
    if model.kind is tuple:  # The masks of an image.
        empty: Any = ()
    elif isinstance(model.kind, torch.dtype):
        # Next to an empty tensor, a single number must be a tensor of one.
        state[:] = [entry.reshape(-1) if entry.ndim == 0 else entry for entry in state]
        where = state[0].device if state else device
        empty = torch.zeros((0, *model.shape), dtype=model.kind, device=where)
    else:
        return
    state.extend([empty] * (max(form.entries for form in theirs) - len(state)))
