"""Whether a model can be run: it has values, on one device, and something to train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .engine import Engine

# Names that a message has of many.
_FEW = 3


def check(engine: Engine) -> None:
    """Refuse a model that cannot be run, and warn of an optimizer that trains nothing of it.

    Raises:
        ValueError: Parameters or buffers have no values, or are on several accelerators.
    """
    model = engine.model
    tensors = [*model.named_parameters(), *model.named_buffers()]
    kind = type(model).__name__
    if not engine._run.gives_values:
        check_values(tensors, kind)
    check_devices(((name, tensor.device) for name, tensor in tensors), kind)
    ours = {id(tensor) for _, tensor in tensors}
    for index, stage in enumerate(engine.stages):
        groups = getattr(stage['optimizer'], 'param_groups', None)
        if groups is not None and not any(id(p) in ours for g in groups for p in g['params']):
            what = 'no parameters' if not any(g['params'] for g in groups) else 'none that are its'
            engine._warn_once(
                f'stages[{index}].optimizer has {what}: the model {kind} is not trained by it'
            )


def check_values(tensors: Iterable[tuple[str, torch.Tensor]], kind: str) -> None:
    """Refuse tensors on the device ``meta``.

    Args:
        tensors: The tensors, with their names.
        kind: What they belong to.

    Raises:
        ValueError: There are some.
    """
    names = [name for name, tensor in tensors if tensor.device.type == 'meta']
    if names:
        raise ValueError(
            f"{kind}: {_some(names)} on the device 'meta', without values. Build the model "
            "outside of torch.device('meta'), or give it memory (model.to_empty(device='cpu')) and "
            'then values (load_checkpoint, or reset_parameters() of its modules)'
        )


def check_devices(devices: Iterable[tuple[str, torch.device]], kind: str) -> None:
    """Refuse a model that is spread over several accelerators.

    Args:
        devices: Where its tensors are, by name.
        kind: What they belong to.

    Raises:
        ValueError: It is.
    """
    # A part that was left on the CPU is moved to the others.
    counts = Counter(str(device) for _, device in devices if device.type not in ('cpu', 'meta'))
    if len(counts) > 1:
        places = ', '.join(f'{count} on {device}' for device, count in sorted(counts.items()))
        raise ValueError(
            f'the tensors of {kind} are on several devices ({places}), but each process has one: '
            'leave the model on the CPU, and share it out by a strategy (--devices 2 --strategy '
            'fsdp2)'
        )


def explain_nothing_to_train(model: Any) -> str:
    """Return why there is no parameter for an optimizer."""
    count = sum(1 for _ in model.parameters())
    kind = type(model).__name__
    if count == 0:
        return f'the model {kind} has no parameters to train'
    return f'all {count} parameters of the model {kind} are frozen (requires_grad=False)'


def _some(names: list[str]) -> str:
    more = len(names) - _FEW
    listed = ', '.join(names[:_FEW]) + (f' and {more} more' if more > 0 else '')
    return f'{listed} {"is" if len(names) == 1 else "are"}'
