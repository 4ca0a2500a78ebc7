"""Checkpoints that are folders: the parts that processes have written, read as one."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import metadata as parts
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from . import _formats
from ._formats import GRADIENTS, PREFIX
from ._state_dict import blank_like
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


def lacking(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the files that the index of a folder tells of and that are not there."""
    reader = _Reader(os.fspath(folder))
    named = {info.relative_path for info in reader.read_metadata().storage_data.values()}
    return sorted(named - set(os.listdir(folder)))


def read(
    folder: str | os.PathLike[str],
    weights_only: bool = True,
    like: Mapping[str, Any] | None = None,
    only: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """Read a folder written by torch.distributed.checkpoint, with Lightning's `meta.pt` if there.

    Each process reads by itself, without waiting for any other.

    Args:
        folder: The folder.
        weights_only: Whether to refuse anything but tensors and plain data.
        like: Parameters by name. Of what belongs to one that is sharded, only this process's part
            is read.
        only: Tells by the first key of a tensor, 'state_dict' or 'optimizer_0', whether it is read.

    Returns:
        The checkpoint, on the CPU where `like` does not say otherwise. Lightning's has
        `optimizer_states`, as its files have; ours is as our files are.

    Raises:
        RuntimeError: It is damaged, no checkpoint, or refused.
    """
    name = os.fspath(folder)
    reader = _Reader(name)
    try:
        reader.weights_only = weights_only
        index = reader.read_metadata()
        paths = index.planner_data or {}
        flat: dict[str, Any] = {}
        for key, entry in index.state_dict_metadata.items():
            path = paths.get(key, (key,))
            tensor = isinstance(entry, parts.TensorStorageMetadata)
            if not tensor or only is None or only(path[0]):
                flat[key] = _blank(entry, _parameter(path, like or {}))
        _fill(flat, reader, index)
        checkpoint = _nested(flat, paths)
    except Exception as error:
        # As with single files, there is no common exception for damaged ones.
        raise RuntimeError(f'cannot read checkpoint {name!r}: {_reason(error)}') from error
    rest = os.path.join(name, REST)
    if os.path.isfile(rest):
        checkpoint.update(load_file(rest, 'cpu', weights_only))
        optimizers = sorted(key for key in checkpoint if key.startswith('optimizer_'))
        if optimizers and 'optimizer_states' not in checkpoint:
            checkpoint['optimizer_states'] = [checkpoint.pop(key) for key in optimizers]
    return _as_file(checkpoint) if _formats.kind(checkpoint) == 'ours' else checkpoint


def _fill(flat: dict[str, Any], reader: _Reader, index: parts.Metadata) -> None:
    planner = _Planner(reader.weights_only)
    planner.set_up_planner(flat, index, is_coordinator=True)
    reader.set_up_storage_reader(index, is_coordinator=True)
    plan = reader.prepare_local_plan(planner.create_local_plan())
    [plan] = reader.prepare_global_plan(planner.create_global_plan([plan]))
    reader.read_data(planner.finish_plan(plan), planner).wait()


def _as_file(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of ours with the names and numbers of a file."""
    result = dict(checkpoint)
    for key in ('state_dict', 'current_model_state', GRADIENTS):
        if key in result:
            result[key] = {k.removeprefix(PREFIX): v for k, v in result[key].items()}
    if 'optimizer_states' in result:
        # What is empty is not in the index.
        state = {'state': {}, **result['optimizer_states'][0]}
        result['optimizer'] = _formats.by_index(state)
        result['optimizer_states'] = [result['optimizer']]
    result['nncore_compat'] = {
        **result['nncore_compat'],
        GRADIENTS: result.pop(GRADIENTS, {}),
    }
    return result


def _parameter(path: tuple[Any, ...], like: Mapping[str, Any]) -> Any:
    """What a tensor in an index belongs to, and is sharded like."""
    name = path[2] if path[0].startswith('optimizer_') and len(path) > 3 else path[-1]
    return like.get(str(name).removeprefix(PREFIX))


def _reason(error: BaseException) -> str:
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


def _blank(entry: Any, parameter: Any) -> Any:
    if not isinstance(entry, parts.TensorStorageMetadata):
        return None
    return blank_like(parameter, entry.size, entry.properties.dtype)


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
