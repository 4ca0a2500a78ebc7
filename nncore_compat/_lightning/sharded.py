"""Checkpoints of a model that is sharded: gathered, or as a folder of each process's parts."""

from __future__ import annotations

import errno
import os
import types
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from .. import _files, _snapshot, comm
from .._formats import GRADIENTS, PREFIX
from ..utils import to_cpu
from . import private
from .checkpoint_io import writer_of

# What each process has a part of.
PARTS = ('state_dict', 'current_model_state', 'optimizer_states', GRADIENTS)


class ShardedCheckpoints:
    """How a ModelParallelStrategy saves."""

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the state by the indices of the parameters; all processes take part.

        Lightning's own method takes a step with an optimizer that has no state yet, and numbers
        the parameters of the module instead of those of the optimizer.
        """
        state = optimizer.state_dict()
        return state if splits(self) else to_cpu(state)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Write a file, or a folder to which each process adds its parts; all take part.

        Args:
            checkpoint: The checkpoint.
            filepath: The file, or the folder.
            storage_options: Of the CheckpointIO, for files.
        """
        if splits(self):
            path = str(comm.broadcast(os.fspath(filepath)))
            writer = writer_of(self)
            if writer is None:
                write(checkpoint, path)
            else:
                writer.carry_out(path, lambda: write(checkpoint, path))
        else:
            # Of the class behind Lightning's, which removes an older folder before it has a file.
            super(ModelParallelStrategy, self).save_checkpoint(  # type: ignore[misc]
                checkpoint, filepath, storage_options
            )


def adopt(strategy: Any) -> None:
    """Have a strategy of Lightning's save as ours does, but for what its user has overridden."""
    if not isinstance(strategy, ModelParallelStrategy):
        return
    for name in ('optimizer_state', 'save_checkpoint'):
        if getattr(type(strategy), name) is getattr(ModelParallelStrategy, name):
            method = getattr(ShardedCheckpoints, name)
            setattr(strategy, name, types.MethodType(method, strategy))


def splits(strategy: Any) -> bool:
    """Tell whether checkpoints are folders."""
    return isinstance(strategy, ModelParallelStrategy) and private.saves_folders(strategy)


def take_parts(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Take out of a checkpoint what each process has a part of, named as Lightning has it.

    Args:
        checkpoint: What would be in a file, if the processes gathered it; changed in place.
    """
    section = checkpoint[_snapshot.KEY]
    gradients = section.pop(GRADIENTS)
    parts = {key: checkpoint.pop(key) for key in PARTS if key in checkpoint}
    if gradients:
        parts[GRADIENTS] = {PREFIX + k: v for k, v in gradients.items()}
    # An optimizer whose parameters are not all the model's has no names for them: it is gathered.
    names = section['parameters']
    if 'optimizer_states' in parts and names is not None:
        state = checkpoint.pop('optimizer')
        parts['optimizer_states'] = [_by_name(state, names)]
    elif 'optimizer_states' in parts:
        checkpoint['optimizer_states'] = parts.pop('optimizer_states')
    return parts


def _by_name(state: dict[str, Any], names: list[list[str]]) -> dict[str, Any]:
    groups = state['param_groups']
    known = {
        index: PREFIX + name
        for group, own in zip(groups, names, strict=True)
        for index, name in zip(group['params'], own, strict=True)
    }
    return {
        'state': {known[index]: value for index, value in state['state'].items()},
        'param_groups': [
            {**group, 'params': [known[index] for index in group['params']]} for group in groups
        ],
    }


def write(checkpoint: dict[str, Any], folder: str) -> None:
    """Write a folder, all or nothing; all processes take part.

    Args:
        checkpoint: The checkpoint.
        folder: The folder.

    Raises:
        OSError: It could not be written; the old one is untouched.
    """
    whole = ('optimizer' in checkpoint) * ('optimizer_states',)
    parts = {k: value for k, value in checkpoint.items() if k in PARTS and k not in whole}
    for index, state in enumerate(parts.pop('optimizer_states', ())):
        parts[f'optimizer_{index}'] = state
    rest = {k: value for k, value in checkpoint.items() if k not in PARTS or k in whole}
    if not comm.is_main_process():
        _add_parts(parts, comm.broadcast())
        error = comm.broadcast()
    else:
        error = _lead(parts, rest, folder)
        comm.broadcast(error)
    if error is not None:
        raise error


def _lead(parts: dict[str, Any], rest: dict[str, Any], folder: str) -> OSError | None:
    # Only here, as below: takes a while to import.
    from .. import _sharded

    target = os.path.realpath(os.path.expanduser(folder))
    new, told = _files.temporary(target), False
    try:
        with _files.write_folder(target, new):
            comm.broadcast(new)
            told = True
            error = _add_parts(parts, new)
            if error is not None:
                raise error
            with open(os.path.join(new, _sharded.REST), 'wb') as file:
                torch.save(rest, file)
            lacking = _sharded.lacking(new)
            if lacking:
                raise OSError(
                    errno.EIO,
                    f'{", ".join(lacking)} cannot be seen here: all processes must write to one '
                    'disk that they share',
                )
    except OSError as error:
        if not told:
            comm.broadcast(None)
        return error
    return None


def _add_parts(parts: dict[str, Any], folder: str | None) -> OSError | None:
    """Write what this process has, and return what any process has met."""
    if folder is None:
        return None
    from torch.distributed import checkpoint as dcp

    # Of what all have, that of the first process.
    planner = dcp.DefaultSavePlanner(dedup_save_to_lowest_rank=True)
    try:
        dcp.save(parts, checkpoint_id=folder, planner=planner)
    except dcp.CheckpointException as error:
        met = [failure[0] for failure in error.failures.values()]
        found = next((each for each in met if isinstance(each, OSError)), None)
        if found is None:
            raise
        return OSError(found.errno or errno.EIO, found.strerror or str(found))
    return None
