"""What is known of runs, as text for people."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from .columns import fitting, name_of, table
from .epochs import epochs_table
from .find import names
from .state import words


def details(facts: dict[str, Any], width: int, epochs: str = 'some') -> str:
    """Return all of one run.

    Args:
        facts: What is known of it.
        width: Columns of the terminal.
        epochs: Which epochs are listed: some, all or none.
    """
    parts = [_head(facts)]
    if facts['stages']:
        parts.append('stages\n' + table(_stages(facts), '>><<<<'))
    if facts['by_epoch'] and epochs != 'none':
        parts.append('epochs\n' + epochs_table(facts, width, epochs == 'all'))
    if facts['best']:
        parts.append('best\n' + table(_best(facts), '<>>><'))
    if facts['checkpoints']:
        parts.append('checkpoints\n' + table(_checkpoints(facts), '<>>><<'))
    return '\n\n'.join(parts)


def comparison(told: Sequence[dict[str, Any]], width: int) -> str:
    """Return a line for each of several runs, with their best values.

    Args:
        told: What is known of each.
        width: Columns of the terminal.
    """
    keys = dict.fromkeys((entry['key'], entry['mode']) for one in told for entry in one['best'])
    heads = [name_of(key, mode) for key, mode in keys]
    rows = [['run', 'state', 'epochs', 'time', *heads]]
    for one, name in zip(told, names([one['work_dir'] for one in told]), strict=True):
        best = {(entry['key'], entry['mode']): entry for entry in one['best']}
        cells = [
            f'{best[key]["value"]:.4g} @{best[key]["epoch"]:.6g}' if key in best else ''
            for key in keys
        ]
        total = one['seconds']['total']
        spent = '' if total is None else _total(total)
        rows.append([name, one['state'], _of(**one['epochs']), spent, *cells])
    rows, left_out = fitting(rows, width, fixed=4)
    text = table(rows, '<<>>' + '>' * len(heads))
    notes = ['values are the best ones, @ the epoch'] if heads else []
    if left_out:
        notes.append(f'no room for {", ".join(left_out)}')
    guessed = _guessed(entry for one in told for entry in one['best'])
    notes += guessed
    return text + ''.join(f'\n({note})' for note in notes)


def _head(facts: dict[str, Any]) -> str:
    iters, seconds = facts['iterations'], facts['seconds']
    state = facts['state'] + ('?' if facts['state'] == 'running' else '')
    state += f' ({facts["detail"]})' if facts['detail'] else ''
    progress = f'{_of(**facts["epochs"])} epochs, {iters["done"]:,} iterations'
    if iters['in_epoch']:
        progress += f', {iters["in_epoch"]:,} of {iters["per_epoch"]:,} in the running epoch'
    elif iters['per_epoch']:
        progress += f' ({iters["per_epoch"]:,} per epoch)'
    lines = [('state', state), ('done', progress)]
    spent = []
    if seconds['total'] is not None:
        spent.append(f'{_total(seconds["total"])} in all')
    if seconds['epoch'] is not None:
        spent.append(f'{words(seconds["epoch"])} per epoch of training')
    if seconds['iteration'] is not None:
        wait = f' ({words(seconds["data"])} of it data_time)' if seconds['data'] else ''
        spent.append(f'{words(seconds["iteration"])} per iteration{wait}')
    lines.append(('time', ', '.join(spent)))
    begun = f'{facts["begun"]}, ' if facts['begun'] else ''
    lines.append(('begun', f'{begun}last written {facts["written"]}'))
    lines.append(('launches', _launches(facts)))
    ran = [f'{name} {version}' for name, version in facts['versions'].items()]
    if facts['processes'] not in (None, '', 'False'):
        ran.append(facts['processes'])
    if facts['amp'] not in (None, '', 'None'):
        ran.append(facts['amp'])
    lines.append(('ran on', ', '.join(ran)))
    lines.append(('records', _records(facts)))
    body = ''.join(f'\n  {name:<9}{text}' for name, text in lines if text)
    return facts['work_dir'] + body


def _total(seconds: float) -> str:
    # A log has whole seconds.
    return words(seconds) if seconds >= 1 else 'below 1 s'


def _of(done: int, planned: int | None) -> str:
    return f'{done}/{"?" if planned is None else planned}'


def _launches(facts: dict[str, Any]) -> str:
    if facts['launches'] < 2:
        return ''
    places = ', '.join(
        f'{mark["epoch"]:.6g} (iteration {mark["iteration"]:,})' for mark in facts['resumes']
    )
    resumed = f', resumed after epoch {places}' if places else ''
    return f'{facts["launches"]}{resumed}'


def _records(facts: dict[str, Any]) -> str:
    found = facts['records']
    source = facts['metrics'] or next(iter(facts['logs']), '')
    if not source:
        return ''
    text = f'{found["read"]:,} in {os.path.basename(source)}'
    if found['put_aside']:
        text += f'; {found["put_aside"]:,} older ones, of iterations that came again, left out'
    if found['unreadable']:
        text += f'; {found["unreadable"]:,} lines cannot be read'
    if found['torn']:
        text += '; the last line is torn'
    return text


def _stages(facts: dict[str, Any]) -> list[list[str]]:
    rows = [['', 'epochs', 'optimizer', 'lr schedule', 'warm-up', 'validation']]
    for number, stage in enumerate(facts['stages'], start=1):
        first, last = stage['first'], stage['first'] + stage['epochs'] - 1
        span = str(first) if first == last else f'{first}-{last}'
        schedule, warmup, validation = (
            stage.get(key) for key in ('lr_schedule', 'warmup', 'validation')
        )
        interval = validation.get('interval') if isinstance(validation, dict) else None
        checked = {None: '', 0: 'no', 1: 'every epoch'}.get(interval, f'every {interval} epochs')
        rows.append(
            [str(number), span, stage['optimizer'], _policy(schedule), _policy(warmup), checked]
        )
    return rows


def _policy(config: Any) -> str:
    if not isinstance(config, dict):
        return ''
    rest = {k: v for k, v in config.items() if k not in ('type', 'policy')}
    given = ', '.join(f'{key}: {value}' for key, value in rest.items())
    return f'{config.get("policy")} by {config.get("type")}' + (f' ({given})' if given else '')


def _best(facts: dict[str, Any]) -> list[list[str]]:
    rows = [['', 'value', 'epoch', 'iteration', 'checkpoint']]
    for entry in facts['best']:
        word = 'highest' if entry['high'] else 'lowest'
        sure = ', by its name' if entry['guessed'] and 'loss' not in entry['key'].lower() else ''
        name = f'{name_of(entry["key"], entry["mode"])} ({word}{sure})'
        file = entry['checkpoint'] or 'no file'
        place = f'{entry["epoch"]:.6g}', f'{entry["iteration"]:,}'
        rows.append([name, f'{entry["value"]:.6g}', *place, file])
    return rows


def _guessed(entries: Iterable[dict[str, Any]]) -> list[str]:
    found: dict[bool, dict[str, None]] = {True: {}, False: {}}
    for entry in entries:
        if entry['guessed'] and 'loss' not in entry['key'].lower():
            found[entry['high']][entry['key']] = None
    return [
        f'by their names, the {"highest" if high else "lowest"} is the best of {", ".join(keys)}'
        for high, keys in found.items()
        if keys
    ]


def _checkpoints(facts: dict[str, Any]) -> list[list[str]]:
    rows = [['', 'epoch', 'iteration', 'size', 'written', '']]
    for one in facts['checkpoints']:
        epoch = '' if one['epoch'] is None else str(one['epoch'])
        iteration = '' if one['iteration'] is None else f'{one["iteration"]:,}'
        if one['link'] is not None:
            name, size, when = f'{one["name"]} -> {one["link"]}', '', ''
        else:
            name, size, when = one['name'], _size(one['bytes']), one['time']
        told = '' if one['readable'] else f'cannot be read: {one["problem"]}'
        rows.append([name, epoch, iteration, size, when, told])
    return rows


def _size(count: float) -> str:
    for unit in ('B', 'kB', 'MB', 'GB'):
        if count < 1000:
            return f'{count:.3g} {unit}'
        count /= 1000
    return f'{count:.3g} TB'
