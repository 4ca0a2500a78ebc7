"""Registries, and the objects that configs stand for."""

import random
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler, default_collate
from torch.utils.data.dataset import Dataset

from ._nncore import loaded, parents
from ._registry import DATASETS, HOOKS, LOSSES, MODELS, OPTIMIZERS, build_known
from .comm import get_dist_info, is_distributed

__all__ = [
    'DATASETS',
    'HOOKS',
    'LOSSES',
    'MODELS',
    'OPTIMIZERS',
    'build_dataloader',
    'build_hook',
    'build_model',
    'build_optimizer',
    'collate',
]

_BUNDLERS = ('sequential', 'modulelist')


def collate(batch: list[Any]) -> Any:
    """Make a batch of samples as nncore does.

    Tuples become lists, and the elements of samples that are lists are put into one batch.

    Args:
        batch: The samples.

    Returns:
        The batch.

    Examples:
        >>> from nncore_compat.builder import collate
        >>> points, labels = collate([(torch.zeros(2), 0), (torch.ones(2), 1)])
        >>> points.shape, labels
        (torch.Size([2, 2]), tensor([0, 1]))
    """
    # Asked at every call: a worker may import nncore only when it unpickles the dataset.
    real = loaded('nncore.parallel', 'collate')
    if real is not None:
        return real(batch)
    first = batch[0]
    if isinstance(first, list):
        return collate([element for sample in batch for element in sample])
    if isinstance(first, tuple):
        return [collate(list(samples)) for samples in zip(*batch, strict=False)]
    if isinstance(first, dict):
        return {key: collate([sample[key] for sample in batch]) for key in first}
    return default_collate(batch)


def _seed_worker(worker_id: int, num_workers: int, rank: int, seed: int) -> None:
    # torch seeds itself from the main process, random and numpy do not.
    worker_seed = seed + worker_id + rank * num_workers
    random.seed(worker_seed)
    np.random.seed(worker_seed)


def build_dataloader(
    cfg: Any, seed: int | None = None, dist: bool | None = None, group: Any = None, **kwargs: Any
) -> Any:
    """Build a data loader from the config of its dataset.

    Args:
        cfg: The name or config of a dataset, with the loader's arguments under ``loader``;
            a data loader is returned as it is.
        seed: The seed of workers and of the distributed sampler.
        dist: Whether to use a distributed sampler; None for yes if there is a process group
            and the config has no sampler.
        group: The process group, the default one if None.
        **kwargs: Arguments of the dataset that go over those of the config.

    Returns:
        The data loader.

    Raises:
        KeyError: If the config has no ``type``.
        TypeError: If ``cfg`` is something else.
        ValueError: If there is no such dataset.

    Examples:
        >>> from nncore_compat.builder import DATASETS
        >>> _ = DATASETS.register(Points)
        >>> cfg = {'type': 'Points', 'loader': {'batch_size': 4, 'shuffle': True}}
        >>> len(build_dataloader(cfg, seed=1))
        3
    """
    if isinstance(cfg, str):
        cfg = {'type': cfg}
    elif not isinstance(cfg, dict):
        if hasattr(cfg, '__iter__') and hasattr(cfg, 'dataset'):
            return cfg
        raise TypeError(
            'a data loader must be a DataLoader, the config or the name of a dataset, '
            f'but got {cfg!r}'
        )

    dataset_cfg = {key: value for key, value in cfg.items() if key != 'loader'}
    dataset: Dataset[Any] = build_known(dataset_cfg, parents('dataset'), 'dataset', **kwargs)

    options = dict(cfg.get('loader') or {})
    rank, world_size = get_dist_info(group)
    if dist or (dist is None and is_distributed() and 'sampler' not in options):
        options['sampler'] = DistributedSampler(
            dataset,
            num_replicas=world_size,
            rank=rank,
            shuffle=options.pop('shuffle', False),
            seed=seed or 0,
            drop_last=options.pop('drop_last', False),
        )
    options.setdefault('collate_fn', collate)
    if seed is not None:
        options.setdefault(
            'worker_init_fn',
            partial(_seed_worker, num_workers=options.get('num_workers', 0), rank=rank, seed=seed),
        )
    return DataLoader(dataset, **options)


def build_hook(cfg: Any, **kwargs: Any) -> Any:
    """Build a hook registered in ``HOOKS``.

    Args:
        cfg: The name or config of a hook; a hook is returned as it is.
        **kwargs: Arguments that go over those of the config.

    Returns:
        The hook.

    Raises:
        KeyError: If the config has no ``type``.
        ValueError: If there is no such hook.

    Examples:
        >>> build_hook({'type': 'EvalHook', 'high_keys': ['acc']})
        EvalHook()
        >>> build_hook('OptimizerHook', interval=4)
        OptimizerHook()
    """
    return build_known(cfg, [HOOKS], 'hook', **kwargs)


def build_model(
    cfg: Any,
    bundler: str = 'sequential',
    dist: bool | None = None,
    dp_cfg: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Build a model from registered modules and those of ``torch.nn``.

    Args:
        cfg: A module, its name or config, or a list of these.
        bundler: What makes one model of several, 'sequential' or 'modulelist'.
        dist: Whether to wrap the model for several processes (True) or for one (False).
        dp_cfg: Arguments of the wrapper.
        **kwargs: Arguments of the model that go over those of the config.

    Returns:
        The model.

    Raises:
        KeyError: If the config has no ``type``.
        RuntimeError: If it takes nncore to wrap or to bundle, and nncore is not imported.
        TypeError: If ``cfg`` is something else.
        ValueError: If there is no such module or bundler.

    Examples:
        >>> from nncore_compat.builder import build_model
        >>> build_model({'type': 'Linear', 'in_features': 2, 'out_features': 3})
        Linear(in_features=2, out_features=3, bias=True)
    """
    if bundler not in _BUNDLERS:
        raise ValueError(f'unknown bundler {bundler!r}, accepted: {", ".join(_BUNDLERS)}')
    model = build_known(cfg, parents('model'), 'model', where='model', **kwargs)
    modules = model if isinstance(model, list) else [model]
    modules = [module for module in modules if module is not None]
    for module in modules:
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f'model must be a torch.nn.Module, config or name, got {module!r}')
    if not modules:
        raise TypeError(f'model must be a torch.nn.Module, a config or a name, but got {cfg!r}')

    if len(modules) == 1 and bundler == 'sequential' and dist is None:
        return modules[0]
    real = loaded('nncore.nn', 'build_model')
    if real is None:
        raise RuntimeError(
            'to wrap a model (dist) or to bundle several, nncore must be imported: '
            "pip install 'nncore-compat[nncore]' and import nncore.nn"
        )
    return real(
        modules if len(modules) > 1 else modules[0], bundler=bundler, dist=dist, dp_cfg=dp_cfg
    )


def build_optimizer(cfg: Any, params: Any, where: str = 'optimizer') -> Any:
    """Build an optimizer from registered ones and those of ``torch.optim``.

    Args:
        cfg: The name or config of an optimizer; an optimizer is returned as it is.
        params: The parameters to optimize.
        where: The place of the config, for messages.

    Returns:
        The optimizer.

    Raises:
        KeyError: If the config has no ``type``.
        TypeError: If ``cfg`` is something else.
        ValueError: If there is no such optimizer.

    Examples:
        >>> from nncore_compat.builder import build_optimizer
        >>> optimizer = build_optimizer({'type': 'SGD', 'lr': 0.1}, model.parameters())
        >>> optimizer.defaults['lr']
        0.1
    """
    optimizer = build_known(cfg, parents('optimizer'), 'optimizer', where=where, params=params)
    if not hasattr(optimizer, 'param_groups'):
        raise TypeError(f'{where} must be an optimizer, a config or a name, but got {cfg!r}')
    return optimizer
