"""What a window of accumulated gradients has come to, as part of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ._state_dict import placed_like


def collect(model: nn.Module, sharded: bool) -> dict[str, torch.Tensor]:
    """Return the gradients of a model by the names of its parameters.

    Args:
        model: The model.
        sharded: Whether to return those that processes have parts of, or the others.
    """
    return {
        name: param.grad.detach() if sharded else param.grad.detach().cpu()
        for name, param in model.named_parameters()
        if param.grad is not None and hasattr(param.grad, 'placements') is sharded
    }


def restore(
    model: nn.Module, whole: dict[str, torch.Tensor], own: Sequence[dict[str, torch.Tensor]]
) -> None:
    """Give a model the gradients that were collected, if there were any.

    Args:
        model: The model.
        whole: Those of which processes have parts.
        own: Those that each process had of its own; a step takes their mean over all processes.
    """
    found = dict(whole)
    for name in {name: None for part in own for name in part}:
        parts = [part[name] for part in own if name in part]
        found[name] = parts[0] if len(own) == 1 else sum(parts) / len(own)  # type: ignore[assignment]
    for name, param in model.named_parameters() if found else ():
        param.grad = _of(param, found[name]) if name in found else None


def _of(param: nn.Parameter, grad: torch.Tensor) -> torch.Tensor:
    placed = placed_like(param, grad.to(param.device))
    return placed.clone() if placed is grad else placed
