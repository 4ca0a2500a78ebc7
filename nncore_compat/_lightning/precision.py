"""The `amp` and `grad_scale` of nncore as a precision plugin of Lightning."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch.optim import Optimizer

from .. import _amp
from . import private
from .held import EngineReference

if TYPE_CHECKING:
    from ..engine import Engine
    from .module import StagesModule

NAMES = {'fp16': '16-mixed', 'bf16': 'bf16-mixed'}
TYPES = {'16-mixed': torch.float16, 'bf16-mixed': torch.bfloat16}


class EnginePrecision(Precision):
    """Runs the model as ``engine.amp_cfg`` says, and scales with OptimizerHook's scaler.

    It differs from the stock plugin where that changes weights: autocast is around the model alone
    and in training alone, it takes all of the engine's settings (a hook may change them at any
    time), and a scaler may go with bfloat16, or with no autocast at all.

    Args:
        engine: The engine, which keeps the settings.
    """

    engine = EngineReference()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.scaler: torch.amp.GradScaler | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Spawned processes get the engine by itself.
        return {key: value for key, value in vars(self).items() if key != 'engine_reference'}

    @property
    def precision(self) -> str:  # type: ignore[override]
        """Lightning's name for what the model computes in."""
        return self.named(self.engine._model_device.type)

    def named(self, device_type: str) -> str:
        """Return that name for a kind of device."""
        return NAMES.get(str(_amp.label(self.engine.amp_cfg, device_type)), '32-true')

    def adopt(self, scaler: torch.amp.GradScaler) -> None:
        """Scale with a scaler from now on; a hook may hand over another one at any time.

        Args:
            scaler: OptimizerHook's, which keeps its state.
        """
        self.scaler = scaler

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast, for the model in training."""
        engine = self.engine
        return _amp.autocast(engine.amp_cfg, engine._model_device.type)

    def train_step_context(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Nothing: a step is more than the model, and validation is float32."""
        return contextlib.nullcontext()

    val_step_context = test_step_context = predict_step_context = train_step_context  # type: ignore[assignment]

    def pre_backward(self, tensor: torch.Tensor, module: LightningModule) -> torch.Tensor:  # type: ignore[override]
        """Scale the loss."""
        if self.scaler is not None:
            tensor = self.scaler.scale(tensor)
        # Past the stock plugin, which would scale again.
        return Precision.pre_backward(self, tensor, module)

    def optimizer_step(  # type: ignore[override]
        self,
        optimizer: Optimizer,
        model: LightningModule,
        closure: Callable[[], Any],
        **kwargs: Any,
    ) -> Any:
        """Unscale, show the gradients to callbacks and module, step, and update the scaler.

        The closure stays here: an optimizer's ``step`` may take none.
        """
        closure()
        look = functools.partial(private.before_optimizer_step, model.trainer, optimizer)
        return _amp.step(optimizer, self.scaler, look, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the scaler is OptimizerHook's to save."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing."""


class MixedEnginePrecision(EnginePrecision, MixedPrecision):  # type: ignore[misc]
    """The same, for those who ask for mixed precision by its type, as ThroughputMonitor does.

    They take it for 16 bits always, so this one is for engines with ``amp``.
    """

    autocast_context_manager = EnginePrecision.forward_context  # type: ignore[assignment]


def precision_of(engine: Engine) -> EnginePrecision:
    """Return the plugin that does what nncore does in the engine."""
    mixed = engine.get_amp_type() is not None
    return MixedEnginePrecision(engine) if mixed else EnginePrecision(engine)


def take_over(engine: Engine, module: StagesModule, plugin: Precision) -> None:
    """Have a precision of Lightning's take the place of ``amp``.

    Args:
        engine: The engine. What it and its hooks read of ``amp`` is what the plugin does.
        module: Its module.
        plugin: The precision that the user asked for.
    """
    name = str(plugin.precision)
    cfg: dict[str, Any] = {'enabled': name in TYPES}
    if name in TYPES:
        cfg.update(dtype=TYPES[name], cache_enabled=False)
    if engine.amp_cfg['enabled'] and engine.amp_cfg != cfg:
        engine._notice(f'AMP {engine.get_amp_type()} gives way to precision={name!r}')
    engine.amp_cfg = cfg
    # At the launch Lightning does this once more; a checkpoint may be loaded before.
    plugin.convert_module(module)
    if engine._input_handle is not None:
        engine._input_handle.remove()
    if type(plugin).convert_input is not Precision.convert_input:
        engine._input_handle = module.model.register_forward_pre_hook(
            functools.partial(_convert, plugin), with_kwargs=True
        )


def _convert(plugin: Precision, module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    # Lightning converts the batches of its loops, but not what a wrapper unpacks, or a hook calls.
    return plugin.convert_input(args), plugin.convert_input(kwargs)
