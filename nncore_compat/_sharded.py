"""Checkpoints that are folders: the parts that processes have written, read as one."""

from __future__ import annotations

import itertools
import os
import pickle
import warnings
from typing import Any

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import metadata as parts
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from ._weights import load_file

INDEX = '.metadata'
# Lightning's: what is no weight and no optimizer.
REST = 'meta.pt'

# What the index of a folder is made of. It is a pickle, and another one might run code.
_MODULES = {
    'torch.distributed.checkpoint.metadata',
    'torch.distributed.checkpoint.filesystem',
    'torch.distributed.checkpoint.planner',
}
_NAMES = {
    ('builtins', 'set'),
    ('collections', 'OrderedDict'),
    ('torch', 'Size'),
    ('torch', 'device'),
    ('torch.serialization', '_get_layout'),
    *((module, name) for module in ('pathlib', 'pathlib._local') for name in ('PosixPath', 'Path')),
}


def is_sharded(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder is a checkpoint."""
    return os.path.isfile(os.path.join(path, INDEX))


def read(folder: str | os.PathLike[str], weights_only: bool = True) -> dict[str, Any]:
    """Read a folder written by torch.distributed.checkpoint, with Lightning's `meta.pt` if there.

    Args:
        folder: The folder.
        weights_only: Whether to refuse anything but tensors and plain data.

    Returns:
        The checkpoint, on the CPU; Lightning's has `optimizer_states`, as its files have.

    Raises:
        RuntimeError: It is damaged, no checkpoint, or refused.
    """
    name = os.fspath(folder)
    reader = _Reader(name)
    try:
        reader.weights_only = weights_only
        index = reader.read_metadata()
        flat = {key: _blank(entry) for key, entry in index.state_dict_metadata.items()}
        with warnings.catch_warnings():
            # That there is no process group.
            warnings.simplefilter('ignore')
            dcp.load(flat, storage_reader=reader, planner=_Planner(weights_only))
        checkpoint = _nested(flat, index.planner_data or {})
    except (Exception, dcp.CheckpointException) as error:
        # As with single files, there is no common exception for damaged ones.
        raise RuntimeError(f'cannot read checkpoint {name!r}: {_reason(error)}') from error
    rest = os.path.join(name, REST)
    if os.path.isfile(rest):
        checkpoint.update(load_file(rest, 'cpu', weights_only))
        optimizers = sorted(key for key in checkpoint if key.startswith('optimizer_'))
        if optimizers and 'optimizer_states' not in checkpoint:
            checkpoint['optimizer_states'] = [checkpoint.pop(key) for key in optimizers]
    return checkpoint


def _reason(error: BaseException) -> str:
    if isinstance(error, dcp.CheckpointException):
        # Around what each process has met.
        error = next((each[0] for each in error.failures.values()), error)
    first = (str(error).strip().splitlines() or [''])[0]
    return f'{type(error).__name__}: {first}'


class _Reader(dcp.FileSystemReader):
    weights_only = True

    def read_metadata(self, *args: Any, **kwargs: Any) -> parts.Metadata:
        if not self.weights_only:
            return super().read_metadata(*args, **kwargs)
        with open(os.path.join(self.path, INDEX), 'rb') as file:
            return _PlainIndex(file).load()


class _PlainIndex(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = None
        if module in _MODULES or (module, name) in _NAMES:
            found = super().find_class(module, name)
        elif module == 'torch':
            found = getattr(torch, name, None)
            found = found if isinstance(found, (torch.dtype, torch.memory_format)) else None
        if found is None:
            raise pickle.UnpicklingError(
                f'its index holds a Python object ({module}.{name}), and loading that may run code'
            )
        return found


class _Planner(DefaultLoadPlanner):
    def __init__(self, weights_only: bool) -> None:
        super().__init__(flatten_state_dict=False)
        self.weights_only = weights_only

    def load_bytes(self, read_item: Any, value: Any) -> None:
        # Which takes anything in the class above.
        key = read_item.dest_index.fqn
        self.original_state_dict[key] = torch.load(value, weights_only=self.weights_only)


def _blank(entry: Any) -> Any:
    if isinstance(entry, parts.TensorStorageMetadata):
        return torch.empty(entry.size, dtype=entry.properties.dtype)
    return None


def _nested(flat: dict[str, Any], paths: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Put values back to where they were before the index gave each one name."""
    result: dict[str, Any] = {}
    for key, value in flat.items():
        path = paths.get(key, (key,))
        place: Any = result
        for step, following in itertools.pairwise(path):
            place = _at(place, step, [] if isinstance(following, int) else {})
        if isinstance(place, list):
            _at(place, path[-1], None)
        place[path[-1]] = value
    return result


def _at(place: Any, step: Any, new: Any) -> Any:
    """What is at a key or an index; `new` where there is nothing yet."""
    if isinstance(place, dict):
        return place.setdefault(step, new)
    place.extend([None] * (step + 1 - len(place)))
    if place[step] is None:
        place[step] = new
    return place[step]
