"""The live bar in whole runs, as an emulator shows it, and all that is the same without it."""

import copy
import io
import json
import logging
import os
import random
import re
import sys

import numpy as np
import pytest
import torch
from far import Factories, Far, OnDevice
from progress.screen import Screen
from tiny import Net, Points, engine, stage
from torch import nn
from torch.utils.data import DataLoader

from nncore_compat import EvalHook, Hook, _device_values, _display, _terminal

VALIDATED = {'validation': {'interval': 1}}
TIMES = [
    (re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'), '<date>'),
    (re.compile(r'(eta:?|in) \d+:\d\d:\d\d'), r'\1 <time>'),
    (re.compile(r'\d+:\d\d:\d\d (left|on hooks)'), r'<time> \1'),
    (re.compile(r'\d+(\.\d+)? ms/it|\d+\.\d\d s/it'), '<pace>'),
    (re.compile(r'(time|\() ?: ?\d+\.\d+|\(\d+\.\d+ s/it\)'), '<seconds>'),
]
# nncore's own bars, which live ones are shown for.
BARS = re.compile(r'\r\[[> ]*\] \d+/\d+, [^\r\n]*\n?')


def masked(text, folder=None):
    for pattern, word in TIMES:
        text = pattern.sub(word, text)
    return text if folder is None else text.replace(str(folder), '<folder>')


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Has everything drawn at once, and nothing left behind."""
    monkeypatch.setattr(_display, 'OFTEN', 0.0)
    monkeypatch.setattr(_display, 'SHARE', 1e9)
    yield
    assert not _display._shown and not _terminal._watches


class Speaks(Hook):
    """Writes in every way there is, and looks at the screen."""

    def __init__(self, screen=None):
        super().__init__()
        self.screen, self.seen, self.losses = screen, {}, []
        self.early = logging.Logger('early')
        self.early.addHandler(logging.StreamHandler(sys.stdout))

    def look(self, what):
        if self.screen is not None and what not in self.seen:
            lines = self.screen.lines()
            self.seen[what] = lines[len(lines) - lines[::-1].index('') :]

    def before_train_iter(self, engine):
        self.look(f'train {engine.iter}')
        if engine.iter == 4:
            print('printed', engine.iter)
            print('begun, ', end='')
            print('ended')

    def after_train_iter(self, engine):
        self.losses.append(engine.losses['loss'].item())
        if engine.iter == 4:
            self.early.warning('logged early')


class Watched(Net):
    """Has the screen looked at while it is not learning: mode and number of the call."""

    def __init__(self, speaks):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.speaks, self.calls = speaks, 0

    def forward(self, data, mode, **kwargs):
        if torch.is_grad_enabled():
            self.calls = 0
        else:
            what = 'precise' if mode == 'train' else mode
            self.speaks.look(f'{what} {self.calls}')
            self.calls += 1
        return super().forward({**data, 'x': self.norm(data['x'])}, mode, **kwargs)


def run(folder, screen=None):
    """Train in two stages with all that has a bar; return what is to be compared."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    speaks = Speaks(screen)
    data = {
        'train': DataLoader(Points(12), 4, shuffle=True),
        'val': DataLoader(Points(6), 4),
        'test': DataLoader(Points(8), 4),
    }
    adam = {'type': 'Adam', 'lr': 0.00123456}
    stages = [stage(epochs=2, **VALIDATED), stage(optimizer=adam, **VALIDATED)]
    hooks = [
        {'type': 'EventWriterHook', 'interval': 2, 'writers': ['CommandLineWriter', 'JSONWriter']},
        {'type': 'PreciseBNHook', 'interval': 2, 'num_iters': 2},
        EvalHook(run_test=True),
        speaks,
    ]
    one = engine(folder, Watched(speaks), stages, data, hooks=hooks)
    one.launch()
    print(one.launch(eval=True))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    metrics = [json.loads(line) for line in (folder / 'metrics.json').read_text().splitlines()]
    for line in metrics:
        line.pop('time', None), line.pop('data_time', None)
    (log,) = folder.glob('*.log')
    weights = {key: value.tolist() for key, value in one.model.state_dict().items()}
    return speaks, {
        'states': states,
        'metrics': metrics,
        'log': masked(log.read_text(), folder),
        'weights': weights,
    }


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """What a run leaves behind where there is no terminal, and what it writes there."""
    folder = tmp_path_factory.mktemp('plain')
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        _, found = run(folder)
        text = sys.stdout.getvalue()
    finally:
        sys.stdout = out
    assert len(BARS.findall(text)) > 10
    return found, masked(BARS.sub('', text), folder).splitlines()


def expected(losses):
    """The lines at some moments: title, numbers, details."""

    def details(loss, rate, stage):
        return f'eta <time>, loss {loss:.4f}, <pace>, lr {rate}, stage {stage}/2'

    first = 'Epoch 1/3', '3/3', details(losses[2], 0.1, 1)
    second = 'Epoch 2/3', '3/3', details(losses[5], 0.1, 1)
    doing = '1/2', '<time> left, <pace>'
    return {
        'train 0': [('Epoch 1/3', '0/3', 'lr 0.1, stage 1/2')],
        'train 2': [('Epoch 1/3', '2/3', details(losses[1], 0.1, 1))],
        'val 1': [first, ('Validating', *doing)],
        'test 3': [first, ('Testing', *doing)],
        'precise 1': [second, ('Precise BN', *doing)],
        'train 8': [('Epoch 3/3', '2/3', details(losses[7], 0.00123, 2))],
        'test 7': [('Testing', *doing)],
    }


@pytest.mark.parametrize('style', ['rich', 'tqdm'])
def test_a_run_on_a_terminal(tmp_path, monkeypatch, plain, style):
    """Bars below, every line above once and whole, and the same as without in all other ways."""
    screen = Screen(250)
    screen.take_over(monkeypatch)
    monkeypatch.setenv('NNCORE_COMPAT_PROGRESS', style)
    speaks, found = run(tmp_path, screen)
    print('done')
    without, text = plain
    assert found == without
    assert [masked(line, tmp_path) for line in screen.lines()] == [*text, 'done']
    for moment, lines in expected(speaks.losses).items():
        seen = [masked(re.sub(r' +', ' ', line)) for line in speaks.seen[moment]]
        assert len(seen) == len(lines), (moment, seen)
        for line, (title, numbers, details) in zip(seen, lines, strict=True):
            if style == 'rich':
                words = re.fullmatch(r'(.*?) [━╸╺ ]+ (\d+/\d+) (.*)', line).groups()
                assert words == (title, numbers, details.replace(',', '')), moment
            else:
                share = f'{round(100 * eval(numbers))}%'
                words = re.fullmatch(r'(.*?): (\d+%)\|[█▏▎▍▌▋▊▉ ]+\| (\d+/\d+) \[(.*)\]', line)
                assert words.groups() == (title, share, numbers, details), moment
