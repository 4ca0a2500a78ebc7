"""Weights in the format of safetensors, which is an optional package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

SUFFIX = '.safetensors'


def read(path: str) -> dict[str, Any]:
    """Read a file, with the names of tied weights.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: safetensors is not installed.
        RuntimeError: It is damaged.
    """
    safetensors = library()
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tied = file.metadata() or {}
    except FileNotFoundError:
        raise
    except Exception as error:
        raise RuntimeError(f'cannot read {path!r}: {type(error).__name__}: {error}') from error
    weights.update({name: weights[kept] for name, kept in tied.items() if kept in weights})
    return weights


def pack(weights: Mapping[str, Any]) -> bytes:
    """Return the contents of a file.

    Args:
        weights: The weights. Of tied ones, the file has one, and the other names in its metadata,
            as `safetensors.torch.load_model` expects.

    Raises:
        ImportError: safetensors is not installed.
        ValueError: There is something else than tensors.
    """
    library()
    from safetensors.torch import save

    other = [name for name, value in weights.items() if not torch.is_tensor(value)]
    if other:
        raise ValueError(f'safetensors holds tensors only, but there is {", ".join(other)}')
    tensors: dict[str, torch.Tensor] = {}
    metadata = {'format': 'pt'}
    views: dict[Any, str] = {}
    memory: set[int] = set()
    for name, value in weights.items():
        start = value.untyped_storage().data_ptr()
        view = (start, value.storage_offset(), value.shape, value.stride(), value.dtype)
        kept = views.setdefault(view, name)
        if kept != name and value.numel():
            metadata[name] = kept
        else:
            # Several parts of one piece of memory are parted.
            tensors[name] = value.detach().contiguous()
            if start in memory or tensors[name].untyped_storage().nbytes() > value.nbytes:
                tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
        memory.add(start)
    return save(tensors, metadata)


def library() -> Any:
    try:
        import safetensors
    except ImportError as error:
        raise ImportError('this needs safetensors: pip install safetensors') from error
    return safetensors
