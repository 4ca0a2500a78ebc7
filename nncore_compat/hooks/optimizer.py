"""Back propagation and the optimizer's step."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch

from .._amp import current_scale, scaler_settings, unscales_itself
from .._parameters import with_grad as _with_grad
from .._remember import remember_numbers, when_known
from .._stepping import zero_grad
from ..builder import HOOKS
from ._checks import check_count
from ._gradients import average, divide
from .base import Hook

if TYPE_CHECKING:
    from ..engine import Engine


@HOOKS.register()
class OptimizerHook(Hook):
    """Back-propagates the loss of every iteration and steps at the end of every window.

    A stage's `loss` names the loss to use, its `grad_clip` holds the arguments of
    `torch.nn.utils.clip_grad_norm_`.

    Args:
        interval: Length of the window in iterations; the last one of an epoch may be shorter. With
            0 there is one window, the epoch.
        coalesce: Whether the gradients travel between processes together, where they are averaged
            here: not if the strategy or the model's wrapper does that while it back-propagates.
        bucket_size_mb: The most that travels at once, in MiB; no limit if not above 0.
        grad_scale: Whether to scale the loss, or the arguments of `torch.amp.GradScaler`. Default:
            with automatic mixed precision, where CUDA is available.

    Raises:
        ValueError: For an interval below 0.
        TypeError: For a ``grad_scale`` that is no such thing, or has unknown arguments.

    Examples:
        >>> engine = Engine(model, loaders, stages={**stages[0], 'grad_clip': {'max_norm': 1.0}})
        >>> engine.register_hook(OptimizerHook(interval=2))  # in place of the default one
        >>> engine.launch()
        >>> engine.buffer.get('grad_norm') is None  # written, and cleared
        True
    """

    # Made at the launch.
    scaler: Any = None

    def __init__(
        self,
        interval: int = 1,
        coalesce: bool = True,
        bucket_size_mb: int = -1,
        grad_scale: dict[str, Any] | bool | None = None,
    ) -> None:
        super().__init__()
        self._interval = check_count(interval, 'OptimizerHook.interval', minimum=0)
        self._coalesce = coalesce
        self._bucket_size_mb = bucket_size_mb
        self._last_updated_iter = 0
        self._grad_scale_cfg = scaler_settings(grad_scale)

    def before_launch(self, engine: Engine) -> None:
        """Makes the gradient scaler, unless a precision of Lightning's brings its own."""
        cfg = dict(self._grad_scale_cfg)
        if cfg['enabled'] is None:
            cfg['enabled'] = engine.get_amp_type() is not None and torch.cuda.is_available()
        given = engine._given_scaler()
        if given is not None and self._grad_scale_cfg['enabled'] is not None:
            engine.logger.info("OptimizerHook.grad_scale gives way to the Trainer's precision")
        self.scaler = torch.amp.GradScaler('cuda', **cfg) if given is None else given

    def before_train_epoch(self, engine: Engine) -> None:
        """Begins a window."""
        self._last_updated_iter = 0
        zero_grad(engine.optimizer)

    def after_train_iter(self, engine: Engine) -> None:
        """Back-propagates, and steps when the window is complete.

        Raises:
            KeyError: When the model did not return the stage's loss.
            TypeError: When it returned no loss at all.
        """
        stepping = self.is_stepping(engine)
        engine._backpropagate(_stage_loss(engine), self.scaler, sync=stepping)
        if not stepping:
            return

        done = engine.iter_in_epoch + 1
        window, self._last_updated_iter = done - self._last_updated_iter, done
        averaging = engine._must_average_gradients()
        if window != 1 or averaging:
            grads = [param.grad.data for param in _with_grad(engine.model)]
            if window != 1:
                divide(grads, window)
            if averaging:
                average(grads, self._coalesce, self._bucket_size_mb)

        engine._step_optimizer(self.scaler, functools.partial(self._before_step, engine))
        zero_grad(engine.optimizer)

    def is_stepping(self, engine: Engine) -> bool:
        """Tells whether the current iteration is the last of its window.

        Args:
            engine: The engine.

        Returns:
            True where the optimizer steps, which is in `after_train_iter`.

        Examples:
            >>> OptimizerHook().is_stepping(engine), OptimizerHook(interval=2).is_stepping(engine)
            (True, False)
        """
        if self._interval == 1 and type(self).every_n_iters_in_epoch is Hook.every_n_iters_in_epoch:
            return True
        complete = self.every_n_iters_in_epoch(engine, self._interval)
        return complete or self.last_iter_in_epoch(engine)

    def after_train_epoch(self, engine: Engine) -> None:
        """Drops the gradients, so that none is left when hooks run the model."""
        zero_grad(engine.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Returns where in the epoch the window began, and the state of the scaler."""
        scaler = {} if self.scaler is None else self.scaler.state_dict()
        return {'last_updated_iter': self._last_updated_iter, 'scaler': scaler}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on in the middle of a window."""
        self._last_updated_iter = state_dict['last_updated_iter']
        # Without a scale it has no state.
        if state_dict['scaler'] and self.scaler is not None and self.scaler.is_enabled():
            self.scaler.load_state_dict(state_dict['scaler'])

    def move_window(self, iterations: int) -> None:
        """Counts the window from another place, where the iterations of the epoch are recounted.

        Args:
            iterations: How many there are more.

        Examples:
            >>> hook = OptimizerHook(interval=4)
            >>> hook.move_window(2)
            >>> hook.state_dict()['last_updated_iter']
            2
        """
        self._last_updated_iter += iterations

    def _before_step(self, engine: Engine) -> None:
        """Clip and record; the gradients are unscaled by now."""
        numbers: dict[str, Any] = {}
        clip = engine.cur_stage.get('grad_clip')
        if clip is not None:
            if unscales_itself(engine.optimizer):
                self.scaler.unscale_(engine.optimizer)
            params = _with_grad(engine.model)
            if params:
                numbers['grad_norm'] = engine._clip_gradients(params, clip)

        if engine.debug:
            _report_bad_grads(engine)
        if self.scaler.is_enabled():
            numbers['scale'] = current_scale(self.scaler)
        if numbers:
            remember_numbers(engine.buffer, numbers)


def _stage_loss(engine: Engine) -> torch.Tensor:
    key = engine.cur_stage.get('loss', 'loss')
    if key not in engine.losses:
        returned = ', '.join(map(repr, engine.losses))
        raise KeyError(
            f'loss {key!r} (stages[{engine.stage}].loss) is not among the losses '
            f'that the model returned: {returned}'
        )
    loss = engine.losses[key]
    if not torch.is_tensor(loss):
        raise TypeError(
            f'the model returned no loss to back-propagate, the sum is {loss!r}: its forward must '
            "return a dict with a 'loss', or keys that contain 'loss', beside '_avg_factor'"
        )
    return loss


def _report_bad_grads(engine: Engine) -> None:
    names, peaks = [], []
    for name, param in engine.model.named_parameters():
        if param.grad is None:
            continue
        values = param.grad.coalesce().values() if param.grad.is_sparse else param.grad
        if values.numel() == 0:
            continue
        names.append(name)
        peaks.append(values.abs().max())
    logger, count = engine.logger, engine.iter + 1

    def report(found: list[float]) -> None:
        for name, peak in zip(names, found, strict=True):
            if not math.isfinite(peak):
                kind = 'Inf' if math.isinf(peak) else 'NaN'
                logger.warning(f'Iter [{count}]: {kind} detected in {name}')

    when_known(engine.buffer, peaks, report)
