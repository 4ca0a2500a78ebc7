"""Saying where and how two runs differ."""

from __future__ import annotations

from typing import Any

from .trace import MARK, Change, Difference

_BATCHES = {'train': 'a training batch', 'val': 'a validation batch', 'test': 'a test batch'}
_EPOCHS = {'train': 'a training epoch', 'val': 'a validation', 'test': 'a test'}
_MORE = 6


def difference(found: Difference, names: tuple[str, str]) -> list[str]:
    """Say where two runs part, and how.

    Args:
        found: Where.
        names: What the two are called.
    """
    where = _where(found)
    if not found.changes:
        width = max(map(len, names))
        return [
            f'different: {where}{_after(found.before)}',
            *(
                f'  {name:{width}} goes on with {_act(head)}'
                for name, head in zip(names, found.heads, strict=True)
            ),
        ]
    head = found.heads[0] or {}
    first = found.changes[0]
    lines = [f'different: {where}, {_moment(head, found.before)}', f'  {first.key}:']
    return lines


def others(changes: list[Change]) -> str | None:
    """Name what else differs at the same place, beside the first."""
    keys = [change.key for change in changes[1:]]
    if not keys:
        return None
    more = f' and {len(keys) - _MORE} more' if len(keys) > _MORE else ''
    return f'  also: {", ".join(keys[:_MORE])}{more}'


def has_tensor(change: Change) -> bool:
    """Tell whether the values are larger than what is written down of them, and worth a look."""
    return all(MARK in value for value in change[1:]) and not change.key.startswith('random')


def _where(found: Difference) -> str:
    state = found.state
    head = found.heads[0] or found.heads[1] or {}
    if 'engine.iter' not in state:
        return 'at the beginning'
    done, mode = int(state['engine.iter']), state.get('engine.mode', '').strip("'")
    within = head['what'] in ('batch', 'output') or head.get('event', '').endswith('train_iter')
    if mode in ('val', 'test'):
        name = {'val': 'validation', 'test': 'test'}[mode]
        text = f'{name} after iteration {done}' if done else f'{name}'
    elif within:
        text = f'iteration {done + 1}'
    elif done == int(state.get('engine.start_iter', 0)):
        text = 'before the first iteration'
    else:
        text = f'after iteration {done}'
    stage, epoch = int(state['engine.stage']) + 1, int(state['engine.epoch']) + (mode != 'val')
    last = int(state.get('engine.max_stages', stage))
    return f'{text} (stage {min(stage, last)}, epoch {epoch})' if done or within else text


def _moment(head: dict[str, Any], before: dict[str, Any] | None) -> str:
    what = head['what']
    if what == 'hook':
        name = f'{head["hook"]}.{head["event"]}'
        if head['at'] == 'end':
            return f'in {name}'
        return f'before {name}{_after(before)}'
    return {
        'batch': 'in the batch that the model is given, or before',
        'output': 'when the model has seen the batch',
        'made': 'when Engine() is made',
        'launch': 'when engine.launch() is called',
        'return': 'when engine.launch() has returned',
        'epoch': f'when {_EPOCHS.get(head.get("mode", ""), "an epoch")} begins',
    }.get(what, f'at {_act(head)}')


def _after(before: dict[str, Any] | None) -> str:
    if before is None:
        return ''
    if before['what'] == 'hook':
        word = 'within' if before['at'] == 'begin' else 'after'
        return f', {word} {before["hook"]}.{before["event"]}'
    return f', after {_act(before)}'


def _act(head: dict[str, Any] | None) -> str:
    if head is None:
        return 'nothing more: the script is over'
    what, mode = head['what'], head.get('mode', '')
    if what == 'hook':
        end = 'the end of ' if head['at'] == 'end' else ''
        return f'{end}{head["hook"]}.{head["event"]}'
    if what == 'return':
        return f'the end of engine.launch(), which returns {head["result"]}'
    return {
        'batch': _BATCHES.get(mode, 'a batch'),
        'output': "the model's outputs",
        'epoch': _EPOCHS.get(mode, 'an epoch'),
        'made': 'Engine()',
        'launch': 'engine.launch()',
        'raised': f'{head.get("error")}, raised in engine.launch()',
        'stop': 'nothing more: this is the last iteration that was asked for',
        'validation brought forward': 'no validation, as none is due',
    }[what]
