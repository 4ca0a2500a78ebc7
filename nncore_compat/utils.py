"""Random seeds and checkpoint files."""

import os
import random
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from . import _nncore
from ._files import write
from ._registry import DATASETS
from ._state_dict import inner, load_state_dict, select
from ._weights import load_file, load_torchvision, load_url
from .comm import broadcast

__all__ = [
    'DATASETS',
    'generate_random_seed',
    'get_checkpoint',
    'load_checkpoint',
    'save_checkpoint',
    'set_random_seed',
]


def generate_random_seed(sync: bool = True, src: int = 0, group: Any = None) -> int:
    """Draw a seed of eight digits from the operating system.

    Args:
        sync: Whether all processes get the same seed.
        src: The global rank whose seed they get.
        group: The process group, the default one if None.

    Returns:
        The seed.

    Examples:
        >>> 10_000_000 <= generate_random_seed() < 100_000_000
        True
    """
    seed = random.SystemRandom().randrange(10**7, 10**8)
    return broadcast(seed, src=src, group=group) if sync else seed


def set_random_seed(
    seed: int | None = None, benchmark: bool = False, deterministic: bool = False, **kwargs: Any
) -> int:
    """Seed random, numpy and torch, and set how cuDNN chooses its algorithms.

    Args:
        seed: The seed; None for a new one.
        benchmark: Whether cuDNN tries out algorithms.
        deterministic: Whether cuDNN uses only deterministic algorithms.
        **kwargs: Arguments of :func:`generate_random_seed` for a new seed.

    Returns:
        The seed.

    Examples:
        >>> set_random_seed(42)
        42
        >>> first = torch.rand(3)
        >>> _ = set_random_seed(42)
        >>> torch.equal(torch.rand(3), first)
        True
    """
    if seed is None:
        seed = generate_random_seed(**kwargs)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.deterministic = deterministic
    return seed


def get_checkpoint(
    file_or_url: str | os.PathLike[str], map_location: Any = None, **kwargs: Any
) -> Any:
    """Read a checkpoint.

    Args:
        file_or_url: A file, a folder of a distributed checkpoint, a URL, or ``torchvision://`` and
            the name of a model.
        map_location: Where ``torch.load`` puts the tensors; those of a folder go to the CPU.
        **kwargs: ``weights_only=False`` to unpickle any object of a trusted file; for URLs,
            arguments of ``torch.hub.load_state_dict_from_url``.

    Returns:
        The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If torchvision is asked for and not installed.
        RuntimeError: If the file cannot be read as a checkpoint.
        ValueError: If torchvision has no such model.

    Examples:
        >>> _ = save_checkpoint(model, 'weights.pth', meta={'epoch': 3})
        >>> checkpoint = get_checkpoint('weights.pth', map_location='cpu')
        >>> checkpoint['meta']['epoch'], checkpoint['state_dict']['fc.weight'].shape
        (3, torch.Size([2, 2]))
    """
    name = os.fspath(file_or_url)
    kwargs = {'weights_only': True, 'map_location': map_location, **kwargs}
    if name.startswith('torchvision://'):
        return load_torchvision(name.removeprefix('torchvision://'), **kwargs)
    if name.startswith(('http://', 'https://')):
        return load_url(name, **kwargs)
    if os.path.isdir(name):
        # Takes a while to import.
        from . import _sharded

        if _sharded.is_sharded(name):
            return _sharded.read(name, kwargs['weights_only'])
    return load_file(name, map_location, kwargs['weights_only'])


def load_checkpoint(
    model: nn.Module,
    checkpoint: Any,
    map_location: Any = None,
    strict: bool = False,
    keys: list[str] | None = None,
    logger: Any = None,
    *,
    warning: bool = True,
    **kwargs: Any,
) -> Any:
    """Load the weights of a checkpoint into a model, as far as they fit.

    Args:
        model: The model, which may be wrapped.
        checkpoint: A checkpoint, or what :func:`get_checkpoint` reads.
        map_location: Where ``torch.load`` puts the tensors.
        strict: Whether all weights must fit.
        keys: Names of the modules or parameters to load; None for all.
        logger: The logger, or its name, for what does not fit.
        warning: Whether to log what does not fit.
        **kwargs: Arguments of :func:`get_checkpoint`.

    Returns:
        The model with nncore 0.4.1 or later installed, else the checkpoint.

    Raises:
        RuntimeError: If there are no weights, or if they must fit and do not.

    Examples:
        >>> _ = save_checkpoint(model, 'weights.pth')
        >>> other = Net()
        >>> _ = load_checkpoint(other, 'weights.pth', strict=True)
        >>> torch.equal(other.fc.weight, model.fc.weight)
        True
    """
    if isinstance(checkpoint, (str, os.PathLike)):
        checkpoint = get_checkpoint(checkpoint, map_location=map_location, **kwargs)
    state_dict = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state_dict, dict):
        raise RuntimeError(f'no state dict found in the checkpoint, which is {type(checkpoint)}')
    load_state_dict(inner(model), select(state_dict, keys), strict, warning, logger)
    return model if _nncore.new_returns() else checkpoint


def to_cpu(data: Any) -> Any:
    """Return plain data with its tensors on the CPU, and what two places share shared still."""
    return _to_cpu(data, {})


def _to_cpu(data: Any, moved: dict[int, Any]) -> Any:
    if id(data) in moved:
        return moved[id(data)]
    result = _moved(data, moved)
    if torch.is_tensor(data) or isinstance(data, dict):
        moved[id(data)] = result
    return result


def _moved(data: Any, moved: dict[int, Any]) -> Any:
    if hasattr(data, 'full_tensor'):
        # Sharded over processes, which take part in this together.
        return data.full_tensor().cpu()
    if torch.is_tensor(data):
        return data.detach().cpu()
    if isinstance(data, np.generic):
        # A learning rate, most likely, which torch.load would refuse as an unknown object.
        return data.item()
    if isinstance(data, dict):
        copied = type(data)({key: _to_cpu(value, moved) for key, value in data.items()})
        if hasattr(data, '_metadata'):
            copied._metadata = data._metadata  # type: ignore[attr-defined]
        return copied
    if isinstance(data, (list, tuple)) and type(data) is not torch.Size:
        items = [_to_cpu(value, moved) for value in data]
        return type(data)(*items) if hasattr(data, '_fields') else type(data)(items)
    return data


def save_checkpoint(
    model: nn.Module,
    filename: str | os.PathLike[str],
    optimizer: torch.optim.Optimizer | None = None,
    meta: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Save a checkpoint, so that the file is either the old one or the whole new one.

    Args:
        model: The model, which may be wrapped.
        filename: The file; its folder is made.
        optimizer: The optimizer to save too.
        meta: More to save under ``meta``; it also gets ``nncore_version`` and ``create_time``.

    Returns:
        The checkpoint, with the fields ``meta``, ``state_dict`` and maybe ``optimizer``.

    Raises:
        OSError: If it could not be written; the old file is untouched then.

    Examples:
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> checkpoint = save_checkpoint(model, 'weights.pth', optimizer, meta={'epoch': 3})
        >>> list(checkpoint)
        ['meta', 'state_dict', 'optimizer']
    """
    checkpoint = {
        'meta': stamped({} if meta is None else meta),
        'state_dict': inner(model).state_dict(),
    }
    if optimizer is not None:
        checkpoint['optimizer'] = optimizer.state_dict()
    checkpoint = to_cpu(checkpoint)
    write(checkpoint, filename)
    return checkpoint


def stamped(meta: dict[str, Any]) -> dict[str, Any]:
    """Add to the ``meta`` of a checkpoint who made it and when.

    Args:
        meta: Changed in place.

    Returns:
        The same.
    """
    meta.update(
        nncore_version=_nncore.version() or _nncore.API_VERSION,
        create_time=time.strftime('%Y-%m-%d %H:%M:%S'),
    )
    return meta
