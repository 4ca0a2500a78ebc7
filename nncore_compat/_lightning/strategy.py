"""What a strategy has to know of nncore: when models differ, and who averages gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    ParallelStrategy,
    StrategyRegistry,
)
from torch import distributed, nn

from . import private
from .sharded import ShardedCheckpoints


class ReplicatedStrategy(private.UnwrappedStrategy):
    """One process per device, each with its own model; OptimizerHook averages the gradients.

    Nothing else is exchanged, so that weights that differ from the start and the statistics of
    batch normalisation remain each process's own, any parameter may be frozen at any time, and
    parameters may lack a gradient, as in nncore.
    """

    # Whether all processes begin with the weights of the first: where the script knows nothing of
    # processes, each of them has drawn its own.
    same_start = False

    def setup(self, trainer: Trainer) -> None:
        """Put the model on the device."""
        super(DDPStrategy, self).setup(trainer)
        if self.same_start:
            self.same_start = False
            for tensor in (*self.model.parameters(), *self.model.buffers()):  # type: ignore[union-attr]
                distributed.broadcast(tensor.detach(), src=0)


class ShardedStrategy(ShardedCheckpoints, ModelParallelStrategy):
    """FSDP2 over all processes: ``fsdp2``, or ``fsdp2_sharded`` for distributed checkpoints.

    Checkpoints are files, which the first process gathers and writes. With
    ``save_distributed_checkpoint`` they are folders, to which each process writes the parts that it
    has, on a disk that all share. Either kind resumes on any number of processes.

    Args:
        **kwargs: Arguments of ``ModelParallelStrategy``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{'tensor_parallel_size': 1, 'save_distributed_checkpoint': False, **kwargs}
        )

    def setup_environment(self) -> None:
        """Make the process group, and one dimension of all its processes."""
        private.spread(self, self.num_nodes * self.num_processes)
        super().setup_environment()


def binds_optimizer(strategy: Any) -> bool:
    """Tell whether a strategy takes the optimizer at its setup, for a whole fit.

    A strategy of the user's says so by an attribute ``binds_optimizer``.
    """
    return isinstance(strategy, DeepSpeedStrategy) or getattr(strategy, 'binds_optimizer', False)


def exchange_optimizer(trainer: Trainer) -> None:
    """Give the running fit the optimizer that the engine has now."""
    trainer.strategy.setup_optimizers(trainer)
    trainer.strategy.setup_precision_plugin()


def averages_gradients(strategy: Any) -> bool:
    """Tell whether gradients are averaged over processes in the strategy's backward."""
    return isinstance(strategy, ParallelStrategy) and not isinstance(strategy, ReplicatedStrategy)


def follow_freezing(strategy: Any) -> None:
    """Wrap the model anew if other parameters are trained than when it was wrapped.

    DDP expects a gradient for each parameter that was trainable at that time, and for no other.
    To be called once after the setup, then before each forward.
    """
    if not isinstance(strategy, DDPStrategy) or isinstance(strategy, ReplicatedStrategy):
        return
    module: Any = strategy.lightning_module
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if trained != getattr(strategy, 'trained_parameters', trained):
        strategy.model = module
        if any(trained):
            strategy.configure_ddp()
    strategy.trained_parameters = trained  # type: ignore[attr-defined]


def clip(strategy: Any, params: list[nn.Parameter], cfg: dict[str, Any]) -> torch.Tensor:
    """Clip gradients by their norm, over all processes where they are sharded, and return it.

    Args:
        strategy: The strategy.
        params: The parameters that have gradients.
        cfg: Arguments of ``torch.nn.utils.clip_grad_norm_``.
    """
    if isinstance(strategy, FSDPStrategy):
        model: Any = strategy.model
        return model.clip_grad_norm_(**{k: v for k, v in cfg.items() if k != 'foreach'})
    norm: Any = nn.utils.clip_grad_norm_(params, **cfg)
    return norm.full_tensor() if hasattr(norm, 'full_tensor') else norm


def refuse_scalars(strategy: Any, module: nn.Module) -> None:
    """Refuse to shard parameters that have no dimension to be cut along.

    Raises:
        ValueError: There are some; the message names them.
    """
    if isinstance(strategy, ModelParallelStrategy):
        names = [name for name, param in module.named_parameters() if param.dim() == 0]
        if names:
            raise ValueError(
                f'{type(strategy).__name__} cannot shard parameters without a dimension: '
                f'{", ".join(names)}. Give them the shape (1,), or choose another strategy'
            )


def shards(strategy: Any) -> bool:
    """Tell whether a strategy has the module shard its model."""
    return isinstance(strategy, ModelParallelStrategy)


def shard(module: LightningModule, optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Shard a model over the processes, block by block, and have its optimizers follow.

    Args:
        module: The module, with the mesh of a ShardedStrategy.
        optimizers: Optimizers that were made for the whole parameters.
    """
    # Only here: both came with torch 2.6.
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    mesh = module.device_mesh['data_parallel']  # type: ignore[index]
    model: nn.Module = module.model  # type: ignore[assignment]
    before = list(module.parameters())
    if not before or isinstance(before[0], DTensor):
        return
    for child in list(module.modules()):
        if isinstance(child, nn.ModuleList):
            for block in child:
                if next(block.parameters(), None) is not None:
                    fully_shard(block, mesh=mesh)
    # The outermost block too is to be sharded between a forward and a backward: what asks for the
    # parameters then, such as the optimizer of the next stage, must find those that last.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    after = dict(zip(before, module.parameters(), strict=True))
    for optimizer in optimizers:
        _follow(optimizer, after)


def _follow(optimizer: torch.optim.Optimizer, after: dict[Any, Any]) -> None:
    from torch.distributed.tensor import distribute_tensor

    for group in optimizer.param_groups:
        group['params'] = [after.get(p, p) for p in group['params']]
    for old, new in after.items():
        if old in optimizer.state:
            state = optimizer.state.pop(old)
            optimizer.state[new] = {
                key: distribute_tensor(value, new.device_mesh, new.placements)
                if torch.is_tensor(value) and value.shape == new.shape
                else value
                for key, value in state.items()
            }


if 'fsdp2' not in StrategyRegistry:
    StrategyRegistry.register('fsdp2', ShardedStrategy, description='FSDP2 (fully_shard)')
    StrategyRegistry.register(
        'fsdp2_sharded',
        ShardedStrategy,
        description='FSDP2 (fully_shard), with distributed checkpoints',
        save_distributed_checkpoint=True,
    )
