"""What of a configuration would fail in training, or is hardly meant, as far as one can tell."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from .. import _loaders
from .._preflight import Problem, told
from .._stages import POLICIES_HOME
from ..comm import is_main_process
from ..hooks import CheckpointHook, Hook, LrUpdaterHook, MetricHook, OptimizerHook
from ..hooks._evaluating import EvaluatingHook
from ..hooks.lr_updater import POLICIES, warmup_steps

if TYPE_CHECKING:
    from ..engine import Engine
    from .course import Course
    from .facts import Loader, Stage

_PACKAGE = __name__.partition('.')[0]
# Among names of metrics: there may be others.
ANY = '*'


def _warning(message: str) -> Problem:
    return Problem(message, fatal=False)


def of_data(found: dict[str, Loader], given: Collection[str]) -> Iterator[Problem]:
    """Check the loaders.

    Args:
        found: The loaders.
        given: The splits that were given; the others are filled in.
    """
    if 'train' not in found:
        names = ', '.join(map(repr, found)) or 'nothing'
        yield Problem(f"there is no loader for training: data_loaders has {names}, but no 'train'")
    typo = _loaders.typo(given)
    if typo:
        yield _warning(typo)
    for split, loader in found.items():
        if loader.batches == 0:
            size = f' of {loader.batch_size} samples' if loader.batch_size else ''
            yield Problem(
                f'data_loaders[{split!r}] has no batch{size}: its data set has '
                f'{loader.samples} samples',
                fatal=split == 'train',
            )
    # Of a config, each split has a loader of its own.
    held_out = [found[split] for split in ('val', 'test') if split in found]
    if held_out and all(one.split not in given or one.same_as == 'train' for one in held_out):
        yield _warning("there is no loader 'val' or 'test': the training data stand in for them")


def of_stages(engine: Engine, stages: Iterable[Stage], batches: int) -> Iterator[Problem]:
    """Check what stages say against how long they are."""
    for plan in stages:
        cfg, where = engine.stages[plan.number - 1], f'stages[{plan.number - 1}]'
        yield from _of_warmup(cfg, where, cfg['epochs'], batches)
        schedule = cfg.get('lr_schedule') or {}
        # Another one under this name may count in another way.
        if schedule.get('policy') == 'step' and POLICIES.get('step').__module__ == POLICIES_HOME:
            total = cfg['epochs'] * (1 if schedule['type'] == 'epoch' else batches)
            step = schedule['step']
            bounds = [step] if isinstance(step, int) else list(step)
            late = [one for one in bounds if one >= total]
            if late:
                unit = 'epochs' if schedule['type'] == 'epoch' else 'iterations'
                yield _warning(
                    f'{where}.lr_schedule.step: {", ".join(map(str, late))} is never reached in '
                    f'{total} {unit} (they are counted from the beginning of the stage)'
                )
        validation = cfg.get('validation') or {}
        if validation.get('interval', 0) > 0 and not plan.validated and plan.epochs:
            yield _warning(f'{where}.validation: no epoch of this stage is validated')
    updater = engine.hooks.get('LrUpdaterHook')
    if not isinstance(updater, LrUpdaterHook) and any(
        stage.get('lr_schedule') or stage.get('warmup') for stage in engine.stages
    ):
        yield _warning('there is no LrUpdaterHook: lr_schedule and warmup have no effect')


def _of_warmup(cfg: dict[str, Any], where: str, epochs: int, batches: int) -> Iterator[Problem]:
    warmup, schedule = cfg.get('warmup'), cfg.get('lr_schedule')
    if warmup is None:
        return
    steps = warmup_steps(warmup)
    by_iter = warmup['type'] == 'iter'
    total = epochs * (batches if by_iter else 1)
    if steps > total:
        unit = 'iterations' if by_iter else 'epochs'
        yield _warning(
            f'{where}.warmup: {steps} {unit} are more than the {total} of the stage, whose '
            'rate is never reached'
        )
    if schedule is not None and schedule['type'] == 'iter' and not by_iter:
        yield _warning(
            f'{where}.warmup by epoch has no effect: the lr_schedule by iteration overrides it'
        )
    if schedule is not None and schedule['type'] == 'epoch' and by_iter and steps > batches:
        yield _warning(
            f'{where}.warmup by iteration is longer than an epoch ({batches} iterations): while it '
            'lasts, and up to the next epoch, the lr_schedule by epoch has no effect'
        )


def of_rates(course: Course) -> Iterator[Problem]:
    """Check the learning rates themselves."""
    yield from (Problem(text) for text in course.errors)
    told_of: set[int] = set()
    rates = course.rates
    for iteration, stage, values in zip(rates.iterations, rates.stages, rates.values, strict=True):
        for value in values:
            bad = isinstance(value, complex) or not (math.isfinite(value) and value >= 0)
            if bad and stage not in told_of:
                told_of.add(stage)
                where = f'in iteration {iteration + 1}'
                yield _warning(f'stages[{stage}]: the learning rate is {value:.6g} {where}')


def of_hooks(engine: Engine, validates: bool, batches: int, metrics: set[str]) -> Iterator[Problem]:
    """Check hooks and callbacks against each other and the run."""
    from .._lightning import requirements

    hooks = engine.hooks
    custom = [name for name, one in hooks.items() if not is_known(one)]
    optimizing = hooks.get('OptimizerHook')
    if not isinstance(optimizing, OptimizerHook) and not custom:
        yield Problem('there is no OptimizerHook: nothing is trained')
    elif isinstance(optimizing, OptimizerHook) and optimizing._interval > batches > 0:
        yield _warning(
            f'OptimizerHook(interval={optimizing._interval}): an epoch has {batches} iterations, '
            'and its end is a step in any case'
        )
    if 'EventWriterHook' in hooks and 'TimerHook' not in hooks:
        yield _warning(
            'there is no TimerHook: EventWriterHook writes no times (nncore 0.4.7 ends with a '
            'KeyError)'
        )
    for name, one in hooks.items():
        if isinstance(one, EvaluatingHook) and not validates and not is_default(one):
            yield _warning(f'{name} never evaluates: no stage validates')
        if isinstance(one, CheckpointHook) and one.monitors:
            if not validates:
                yield _warning(f'{name}(save_best={one.monitors!r}): no stage validates')
            else:
                yield from _of_monitor(name, one.monitors, metrics, custom)
        if not isinstance(one, Hook):
            try:
                requirements.refuse_unseen_monitor(one, engine)
            except ValueError as error:
                yield Problem(told(error))
                continue
            key = getattr(one, 'monitor', None)
            if isinstance(key, str):
                yield from _of_monitor(name, key, metrics, custom)


def _of_monitor(name: str, key: str, metrics: set[str], custom: list[str]) -> Iterator[Problem]:
    # Averages are called after what the model returns, which nobody knows yet.
    if key.startswith(('train_', 'val_')) or key in ('epoch', 'step') or key in metrics:
        return
    metrics, open_ended = metrics - {ANY}, bool(custom) or ANY in metrics
    near = get_close_matches(key, metrics, n=1)
    hints = [repr(one) for one in near]
    if 'loss' in key:
        hints += ["'val_loss'", "'train_loss'"]
    hint = f'; did you mean {" or ".join(hints)}?' if hints else ''
    known = f'known are {", ".join(sorted(metrics))}; ' if metrics else ''
    message = (
        f'{name} monitors {key!r}: {known}averages are called train_<key> and val_<key> after '
        f'the keys that the model returns{hint}'
    )
    # A data set, or a hook of the script's, may still bring it.
    if hints or not open_ended:
        yield _warning(message)


def expected_metrics(engine: Engine) -> set[str]:
    """Return names of results that hooks speak of; ANY if more than these may come."""
    names: set[str] = set()
    for one in engine.hooks.values():
        if isinstance(one, EvaluatingHook):
            for key in (*one._high_keys, *one._low_keys):
                names |= {key, f'best_{key}'}
        if isinstance(one, MetricHook):
            names.add(ANY)
    dataset = getattr(engine.data_loaders.get('test'), 'dataset', None)
    if hasattr(dataset, 'evaluate'):
        names.add(ANY)
    return names


def of_folders(engine: Engine) -> Iterator[Problem]:
    """Check that files can be written, without writing any."""
    if not is_main_process():
        return
    folders = {'work_dir': str(engine.work_dir)}
    for name, one in engine.hooks.items():
        if isinstance(one, CheckpointHook):
            folders.setdefault(f'{name}(out=...)', one.folder(engine))
    seen = set()
    for what, folder in folders.items():
        path = os.path.abspath(os.path.expanduser(folder))
        if path in seen:
            continue
        seen.add(path)
        above = path
        while not os.path.lexists(above) and os.path.dirname(above) != above:
            above = os.path.dirname(above)
        if not os.path.isdir(above):
            yield Problem(f'{what}: {path} cannot be made, as {above} is no folder')
        elif not os.access(above, os.W_OK | os.X_OK):
            yield Problem(f'{what}: {path} cannot be written to: no permission for {above}')


def of_leftovers(engine: Engine, saved: list[int], resumes: bool) -> Iterator[Problem]:
    """Check whether the files of an earlier run would be overwritten."""
    hook = engine.hooks.get('CheckpointHook')
    if resumes or not isinstance(hook, CheckpointHook) or not is_main_process():
        return
    folder = hook.folder(engine)
    there = [n for n in saved if os.path.lexists(os.path.join(folder, f'epoch_{n}.pth'))]
    if there:
        names = f'epoch_{there[0]}.pth' + (f' ... epoch_{there[-1]}.pth' if there[1:] else '')
        yield _warning(
            f'{folder} has checkpoints of an earlier run, which would be overwritten: {names}'
        )


def is_known(one: Any) -> bool:
    """Tell whether a hook or callback is ours or Lightning's, so that we know what it does."""
    return type(one).__module__.partition('.')[0] in (_PACKAGE, 'lightning', 'pytorch_lightning')


def is_default(hook: EvaluatingHook) -> bool:
    """Tell whether a hook may be there only because engines have one."""
    return type(hook).__name__ == 'EvalHook' and not (hook._high_keys or hook._low_keys)
