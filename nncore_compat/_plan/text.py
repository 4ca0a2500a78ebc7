"""A plan as a page of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .._preflight import Problem
from .chart import chart
from .table import table

if TYPE_CHECKING:
    from .facts import Loader, Stage
    from .plan import Plan

LABEL = 12


def page(plan: Plan, width: int) -> str:
    """Return the whole plan.

    Args:
        plan: The plan.
        width: Columns to keep to.
    """
    parts = [_run(plan, width), _data(plan)]
    if plan.evaluates:
        parts.append(['Evaluates', f'  {" and ".join(plan.evaluates)}, and does not train'])
    elif plan.stages:
        parts += [_stages(plan, width), _rates(plan, width), _events(plan, width)]
    elif not plan.ok:
        pass
    else:
        parts.append(['Stages', '  all are done: nothing is left to train'])
    if plan.timeline is not None:
        parts.append(['Who is called when', '', plan.timeline.text(width)])
    parts.append([problems(plan.problems, width)])
    return '\n\n'.join('\n'.join(part) for part in parts)


def problems(found: Sequence[Problem], width: int = 80) -> str:
    """Return what is wrong, and how much of it there is.

    Args:
        found: The problems.
        width: Columns to keep to.
    """
    lines = ['Checks']
    for problem in found:
        lines += _wrapped(f'  {problem}', width, 4)
    errors = sum(problem.fatal for problem in found)
    counts = [
        f'{number} {what}{"" if number == 1 else "s"}'
        for number, what in ((errors, 'error'), (len(found) - errors, 'warning'))
        if number
    ]
    lines.append(f'  {", ".join(counts) or "nothing wrong was found"}')
    return '\n'.join(lines)


def _run(plan: Plan, width: int) -> list[str]:
    several = plan.processes > 1
    frozen = plan.parameters - plan.trainable
    trained = f'{plan.trainable:,} of them trained' if frozen else 'all trained'
    rows = {
        'model': f'{plan.model}, {plan.parameters:,} parameters, {trained}',
        'device': f'{plan.device}, {plan.strategy}, {plan.processes} process'
        + ('es' if several else ''),
        'precision': plan.precision,
        'work_dir': plan.work_dir,
        'resume': plan.resume or 'no, from the beginning',
        'quirks on': ', '.join(plan.quirks) or 'none',
    }
    lines = ['Run', *_rows(rows, width)]
    for index, (name, text) in enumerate(plan.differences.items()):
        lines += _rows({'' if index else 'quirks met': f'{name}: {text}'}, width)
    return lines


def _data(plan: Plan) -> list[str]:
    several = plan.processes > 1
    heads = ['', 'samples', 'batch', 'batches', 'workers']
    if several:
        heads[2:] = ['batch', 'batches', 'workers', 'batches in all']
    rows = [heads]
    for loader in plan.loaders.values():
        cells = [_known(loader.samples), _known(loader.batch_size), _known(loader.batches)]
        cells.append(_known(loader.workers))
        if several:
            cells.append(_known(loader.batches and loader.batches * plan.processes))
        rows.append([_split(loader), *cells])
    lines = ['Data' + (', of each process' if several else '')]
    return lines + [f'  {line}' for line in _aligned(rows)]


def _split(loader: Loader) -> str:
    return f'{loader.split} (= {loader.same_as})' if loader.same_as else loader.split


def _known(value: int | None) -> str:
    return '?' if value is None else f'{value:,}'


def _stages(plan: Plan, width: int) -> list[str]:
    lines: list[str] = []
    for stage in plan.stages:
        sizes = ' + '.join(f'{size:,}' for size in stage.groups)
        several = f' in {len(stage.groups)} groups' if len(stage.groups) > 1 else ''
        rows = {
            'optimizer': stage.optimizer,
            'parameters': f'{sizes}{several}' if stage.groups else '',
            'lr_schedule': stage.schedule,
            'warmup': stage.warmup,
            'validation': _after(stage.validated),
            'grad_clip': stage.grad_clip,
            'loss': '' if stage.loss == 'loss' else stage.loss,
        }
        if lines:
            lines.append('')
        lines += [
            f'Stage {stage.number}: {_epochs(stage)}, {_steps(stage)}',
            *_rows({key: text for key, text in rows.items() if text}, width),
        ]
    total = sum(len(stage.epochs) for stage in plan.stages)
    if len(plan.stages) > 1:
        steps = [stage.steps for stage in plan.stages]
        known = [one for one in steps if one is not None]
        counted = f', {sum(known):,} steps of the optimizer' if len(known) == len(steps) else ''
        lines += ['', f'All stages: {total} epochs, {plan.iterations:,} iterations{counted}']
    return lines


def _epochs(stage: Stage) -> str:
    first, last = stage.epochs[0], stage.epochs[-1]
    return f'epoch {first}' if first == last else f'epochs {first} to {last}'


def _steps(stage: Stage) -> str:
    iterations = f'{stage.iterations:,} iterations'
    if stage.steps is None:
        return f'{iterations}, steps as its OptimizerHook decides'
    return f'{iterations}, {stage.steps:,} steps of the optimizer'


def _rates(plan: Plan, width: int) -> list[str]:
    rates = plan.rates
    if not rates.iterations:
        return ['Learning rate', '  not known']
    lines = ['Learning rate', '']
    groups = max(len(values) for values in rates.values)
    drawn: list[int] = []
    for group in range(groups):
        like = next((one for one in drawn if _proportional(plan, one, group)), None)
        if like is None and len(drawn) < 3:
            drawn.append(group)
            if group:
                lines += ['', f'  of parameter group {group}:']
            lines += chart(rates, group, width)
    lines += ['', *(f'  {line}' for line in table(plan, width - 2))]
    if plan.changers:
        text = f'  may set other rates: {", ".join(plan.changers)}'
        lines += ['', *_wrapped(text, width, 4)]
    return lines


def _proportional(plan: Plan, one: int, other: int) -> bool:
    """Whether two groups have rates of one shape, so that one chart is enough."""
    ratio = None
    for values in plan.rates.values:
        if len(values) <= max(one, other):
            continue
        a, b = values[one], values[other]
        if a == 0 or b == 0:
            if a != b:
                return False
            continue
        if ratio is None:
            ratio = b / a
        elif abs(b / a - ratio) > 1e-6 * abs(ratio):
            return False
    return True


def _events(plan: Plan, width: int) -> list[str]:
    validated = [epoch for stage in plan.stages for epoch in stage.validated]
    saved, every = _after(plan.checkpoints), plan.checkpoint_iters
    if every is not None:
        between = 'every iteration' if every == 1 else f'every {every:,} iterations'
        saved = f'{saved} and {between}' if plan.checkpoints else f'after {between}'
    rows = {'validation': _after(validated), 'checkpoint': saved}
    return ['Epochs with', *_rows(rows, width)]


def _after(epochs: Sequence[int]) -> str:
    if not epochs:
        return 'none'
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1].append(epoch)
        else:
            runs.append([epoch])
    texts = [f'{run[0]} to {run[-1]}' if len(run) > 2 else ', '.join(map(str, run)) for run in runs]
    if len(texts) > 12:
        texts = [*texts[:9], '...', texts[-1]]
    return f'after epoch{"" if len(epochs) == 1 else "s"} {", ".join(texts)}'


def _rows(rows: dict[str, str], width: int) -> list[str]:
    lines: list[str] = []
    for label, text in rows.items():
        lines += _wrapped(f'  {label:{LABEL}} {text}', width, LABEL + 3)
    return lines


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        start = ' ' * indent if lines else ''
        lines += textwrap.wrap(
            start + line,
            max(40, width),
            subsequent_indent=' ' * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        '  '.join(
            f'{cell:{size}}' if i == 0 else f'{cell:>{size}}'
            for i, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
