"""A plain PyTorch loop: loader, zero_grad, forward, backward, step, and nothing else."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..clock import Clock
from ..models import build, checksum, length, loader


def train(spec: dict[str, Any], clock: Clock | None = None) -> dict[str, float]:
    """Seconds per training iteration.

    With ``log`` the loss is read every 50 iterations, as a loop that prints it does.
    """
    clock = clock or Clock(spec['skip'], spec['iters'], spec['device'])
    net = prepared(spec)
    loop(spec, net, loader(spec, length(spec), clock))
    return {**clock.per_iteration(), **checksum(net)}


def loop(spec: dict[str, Any], net: nn.Module, batches: Any) -> None:
    """Train, for as many epochs as the spec says."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    schedule = None
    if spec.get('schedule'):
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    interval = spec.get('interval', 1)
    net.train()
    optimizer.zero_grad()
    for epoch in range(spec.get('epochs', 1)):
        for index, data in enumerate(batches, 1):
            with autocast(spec):
                output = net(to_device(data, spec), mode='train')
            if interval == 1:
                output['loss'].backward()
            else:
                (output['loss'] / interval).backward()
            if index % interval == 0:
                optimizer.step()
                optimizer.zero_grad()
            if schedule is not None:
                schedule.step()
            if spec.get('log') and index % 50 == 0:
                print(output['loss'].item(), output['acc'].item())
        if 'checkpoint' in spec:
            content = {'state_dict': net.state_dict(), 'optimizer': optimizer.state_dict()}
            torch.save(content, f'epoch_{epoch + 1}.pth')


def save(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds that training waits for a checkpoint."""
    clock = Clock(0, 1)
    loop(spec, prepared(spec), loader(spec, spec['batches'], clock))
    return clock.per_epoch(spec['batches'])


def evaluate(spec: dict[str, Any]) -> dict[str, float]:
    """Seconds per iteration of an evaluation that keeps the outputs."""
    clock = Clock(spec['skip'], spec['iters'], spec['device'])
    net = prepared(spec).eval()
    kept, loss = [], 0.0
    with torch.no_grad():
        for data in loader(spec, length(spec), clock):
            output = net(to_device(data, spec), mode='val')
            kept.append(output['_out'].cpu())
            loss += output['loss'].item()
    return clock.per_iteration()


validate = evaluate


def prepared(spec: dict[str, Any]) -> nn.Module:
    """The model where it is to run, wrapped where there are several processes."""
    net = build(spec).to(spec['device'])
    if spec.get('processes'):
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group('gloo')
        return DistributedDataParallel(net)
    return net


def autocast(spec: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """The context of the forward pass."""
    if spec.get('amp'):
        return torch.autocast(spec['device'], dtype=torch.bfloat16)
    return contextlib.nullcontext()


def to_device(data: Any, spec: dict[str, Any]) -> Any:
    """The batch where the model is."""
    if spec['device'] == 'cpu':
        return data
    return [value.to(spec['device'], non_blocking=True) for value in data]
