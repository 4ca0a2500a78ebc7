"""What nncore does at each point of a run, as functions of the engine; when is Lightning's part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from . import _loader_parts, _ready, _remember, quirks
from ._errors import located
from .builder import build_optimizer
from .hooks import Hook, MetricHook
from .hooks.base import meets_hook_defaults

if TYPE_CHECKING:
    from .engine import Engine


def open_stage(engine: Engine, give: bool = True) -> None:
    """Announce the current stage, and give it its optimizer if it has not been given before."""
    cfg = engine.cur_stage['optimizer']
    if isinstance(cfg, dict):
        args = ', '.join(f'{k}: {v}' for k, v in cfg.items() if k != 'type')
        name = f'{cfg["type"]}({args})'
    else:
        name = f'{cfg if isinstance(cfg, str) else type(cfg).__name__}()'
    engine.logger.info(
        f'Stage: {engine.stage + 1}, epochs: {engine.cur_stage["epochs"]}, optimizer: {name}'
    )
    if give:
        give_optimizer(engine)


def give_optimizer(engine: Engine) -> None:
    """Make the optimizer of the current stage, unless the stage is being resumed."""
    if engine.epoch_in_stage == 0:
        engine.optimizer = new_optimizer(engine, engine.stage)


def new_optimizer(engine: Engine, stage: int) -> torch.optim.Optimizer:
    """Build the optimizer of a stage over the parameters that are not frozen."""
    where = f'stages[{stage}].optimizer'
    params = [p for p in engine.model.parameters() if p.requires_grad]
    cfg = engine.stages[stage]['optimizer']
    if not params and isinstance(cfg, (dict, str)):
        raise ValueError(f'{where}: {_ready.explain_nothing_to_train(engine.model)}')
    with located(where):
        return build_optimizer(cfg, params=params, where=where)


def close_stage(engine: Engine) -> None:
    """End the current stage and move on to the next one."""
    engine._call_hook('after_stage')
    engine._stage += 1


def enter_mode(engine: Engine, mode: str, split: str | None = None) -> None:
    """Switch mode, model and dataset; ``split`` names the loader where it is not the mode's."""
    engine._mode = mode
    if mode == 'train':
        engine.model.train()
    else:
        engine.model.eval()
        engine.buffer.pop('_out', None)
    engine.data_loader = engine.data_loaders[split or mode]
    set_state = getattr(engine.data_loader.dataset, 'set_state', None)
    if callable(set_state):
        set_state(mode)
    if mode != 'train' and _loader_parts.length(engine.data_loader) == 0:
        engine._warn_once(f'data_loaders[{split or mode!r}] is empty: no batch in {mode} mode')
    if mode == 'test':
        for hook in metric_hooks(engine):
            hook.begin(engine)


def metric_hooks(engine: Engine) -> list[MetricHook]:
    """Return the hooks that see what the model puts out in validation and testing."""
    return [hook for hook in engine.hooks.values() if isinstance(hook, MetricHook)]


def close_train_epoch(engine: Engine) -> bool:
    """End a training epoch.

    Returns:
        Whether to validate now.
    """
    _call_after_train_epoch(engine)
    _remember.finish(engine.buffer)
    in_stage = engine.epoch_in_stage + 1
    engine._epoch += 1
    engine._epochs_left -= 1
    return _validation_due(engine, in_stage)


def _call_after_train_epoch(engine: Engine) -> None:
    """Tell the hooks; those that have not been told yet, in an epoch that is ended once more."""
    hooks = list(engine.hooks.items())
    names = [name for name, _ in hooks]
    told = names.index(engine._closing) + 1 if engine._closing in names else 0
    engine._moment = 'epoch_end'
    for name, hook in hooks[told:]:
        engine._closing = name
        engine._dispatch.call((hook,), 'after_train_epoch', engine)


def _validation_due(engine: Engine, in_stage: int) -> bool:
    due, changed = validation_due(engine, in_stage)
    meet(engine, changed)
    return due


def meet(engine: Engine, changed: dict[str, str]) -> None:
    """Report quirks that change a run, each with what is done instead."""
    for name, message in changed.items():
        quirks.met(name, engine, message)


def validation_due(engine: Any, in_stage: int) -> tuple[bool, dict[str, str]]:
    """Tell whether to validate after an epoch.

    Args:
        engine: The engine, or what counts like one.
        in_stage: How many epochs of the stage are done.

    Returns:
        The answer, and the quirks of 0.4.7 that would change it, with what is done instead.
    """
    cfg = engine.cur_stage.get('validation')
    if cfg is None or 'val' not in engine.data_loaders or cfg.get('interval', 0) <= 0:
        return False, {}
    interval, offset = cfg['interval'], cfg.get('offset', 0)

    def due(count: int, first: int) -> bool:
        return count > offset and (count - first) % interval == 0

    # 0.4.7 asks after the counter has moved on, and at the end of a stage it has wrapped to 0.
    late = engine.epoch_in_stage
    count = late if quirks.active('skip-stage-end-validation') else in_stage
    first = 0 if quirks.active('validation-offset') else offset
    answer, changed = due(count, first), {}
    if answer != due(late, first):
        changed['skip-stage-end-validation'] = (
            f'validating the last epoch of stage {engine.stage + 1}'
        )
    if answer != due(count, 0):
        changed['validation-offset'] = (
            f'stages[{engine.stage}].validation counts its interval from epoch {offset + 1}'
        )
    return answer, changed


def hook_defaults(engine: Engine) -> dict[str, str]:
    """Return the quirk of 0.4.7 that hooks would meet, if any does, with what is done instead."""
    hooks = [hook for hook in engine.hooks.values() if isinstance(hook, Hook)]
    names = [hook.name for hook in hooks if meets_hook_defaults(hook)]
    if not names or quirks.active('hook-defaults'):
        return {}
    events = 'before_epoch, after_epoch, before_iter and after_iter'
    return {'hook-defaults': f'events fall back to {events} in {", ".join(names)}'}


def forward(engine: Engine, data: Any) -> dict[str, Any]:
    """Run the model and check that it returned a dict."""
    with engine._forward_context():
        output = engine.model(data, mode=engine._mode, **engine._kwargs)
    if not isinstance(output, Mapping):
        raise TypeError(
            f'{type(engine.model).__name__}.forward must return a dict with a loss, '
            f"'_avg_factor' and optionally '_out', but got {type(output).__name__} "
            f'(mode {engine._mode!r}, iter {engine.iter + 1})'
        )
    return output  # type: ignore[return-value]


def train_forward(engine: Engine, data: Any) -> dict[str, Any]:
    """Run the model on a training batch and keep what it returned."""
    with engine._run.precision_context(training=True):
        output = forward(engine, data)
        if engine.debug:
            report_non_finite(engine, output.items())
        engine.losses = {k: v for k, v in output.items() if 'loss' in k}
        if 'loss' not in output:
            engine.losses['loss'] = output['loss'] = sum(engine.losses.values())
    remember(engine, output)
    return output


def report_non_finite(engine: Engine, named: Iterable[tuple[str, Any]]) -> None:
    """Warn of Inf or NaN in any of the named tensors."""
    names, flags = [], []
    for name, value in named:
        if torch.is_tensor(value):
            names.append(name)
            flags += [torch.isinf(value).any(), torch.isnan(value).any()]
    logger, count = engine.logger, engine.iter + 1

    def report(found: list[bool]) -> None:
        for name, inf, nan in zip(names, found[::2], found[1::2], strict=True):
            if inf or nan:
                logger.warning(f'Iter [{count}]: {"Inf" if inf else "NaN"} detected in {name}')

    _remember.when_known(engine.buffer, flags, report)


def eval_forward(engine: Engine, data: Any, sum_losses: bool) -> None:
    """Run the model on a validation or test batch, without gradients."""
    with torch.no_grad(), engine._run.precision_context(training=False):
        output = forward(engine, data)
    has_loss = sum_losses and any('loss' in key for key in output)
    if has_loss and 'loss' not in output:
        output['loss'] = sum(v for k, v in output.items() if 'loss' in k)
    if has_loss and '_avg_factor' not in output and not engine._factor_missed:
        engine._factor_missed = True
        engine.logger.warning(
            f"the model returns losses but no '_avg_factor' in {engine.mode} mode: they are "
            'averaged with the numbers of samples of the last training batches'
        )
    for hook in metric_hooks(engine):
        hook.update(engine, output)
    remember(engine, output)


def remember(engine: Engine, output: dict[str, Any]) -> None:
    """Put the values of a model's output into the buffer."""
    kept = _remember.remember(engine.buffer, output)
    averages = engine._run.module.averages
    if averages is not None:
        averages.add(engine.mode, output, kept, _remember.queue_of(engine.buffer))
