"""The live bar in whole runs, as an emulator shows it, and all that is the same without it."""

import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from far import Factories, Far, OnDevice
from paths import ROOT, python_path
from rich.live_render import LiveRender
from tiny import Net, Points, engine, stage
from torch import nn
from torch.utils.data import DataLoader

from nncore_compat import EvalHook, Hook, _device_values, _display, _terminal
from progress.screen import Screen

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


def written(screen):
    """The lines on a screen, but for the one about quirks, which goes to standard error."""
    return [line for line in screen.lines() if not line.startswith('nncore_compat: Quirks')]


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


class Journeys(Hook):
    """Notes what comes from the device in each iteration, and what the screen shows."""

    def __init__(self, screen):
        super().__init__()
        self.screen, self.counts, self.losses = screen, [], []

    def before_train_iter(self, engine):
        if engine.iter:
            self.counts.append(Far.journeys.total())
            found = re.search(r'loss ([\d.]+)', ' '.join(self.screen.lines()[-1:]))
            self.losses.append(found and found[1])
        Far.journeys.clear()


class Remote(OnDevice, nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 2)
        self.go()

    def forward(self, data, mode, **kwargs):
        loss = self.fc(Far(data['x'])).square().mean()
        return {'loss': loss, '_avg_factor': len(data['y'])}


def test_values_on_an_accelerator_stay_there(tmp_path, monkeypatch):
    """A bar that is drawn in every iteration waits for none; it shows what the log has brought."""
    monkeypatch.setattr(_device_values, 'KINDS', (*_device_values.KINDS, Far))
    screen, seen = Screen(200), {}
    for progress in ('plain', 'rich'):
        screen.take_over(monkeypatch)
        monkeypatch.setenv('NNCORE_COMPAT_PROGRESS', progress)
        seen[progress] = Journeys(screen)
        one = engine(
            tmp_path / progress,
            Remote(),
            data_loaders={'train': DataLoader(Points(20), 2)},
            hooks=[{'type': 'EventWriterHook', 'interval': 4}, seen[progress]],
        )
        with Factories():
            one.launch()
    assert seen['rich'].counts == seen['plain'].counts
    assert sum(seen['rich'].counts) == 2
    # One loss until the end of the window, and another until the end of the next.
    losses = seen['rich'].losses
    assert losses[:3] == [None] * 3 and len(set(losses[3:7])) == 1 and losses[3] is not None
    assert losses[7] not in (None, losses[3])


@pytest.mark.parametrize(
    'error', [RuntimeError('failed'), KeyboardInterrupt(), SystemExit(3)], ids=repr
)
def test_a_run_that_ends_early_leaves_a_clean_screen(tmp_path, monkeypatch, error):
    class Fails(Hook):
        def before_val_iter(self, engine):
            raise error

    screen = Screen(200)
    screen.take_over(monkeypatch)
    with pytest.raises(type(error)):
        engine(tmp_path, stages=stage(**VALIDATED), hooks=[Fails()]).launch()
    print('after')
    lines = written(screen)
    assert any(line.endswith('Validating...') for line in lines[-3:]) and lines[-1] == 'after'
    assert not any('━' in line for line in lines)
    assert vars(sys.stdout).get('write') is None
    # The next engine has its own, outside a launch too.
    looks = Speaks(screen)
    one = engine(tmp_path / 'next', Watched(looks))
    one.test_epoch('val')
    assert looks.seen['test 1'][0].startswith('Testing') and written(screen) == lines


def test_an_engine_within_another(tmp_path, monkeypatch):
    screen = Screen(200)
    screen.take_over(monkeypatch)
    inner = Speaks(screen)

    class Launches(Hook):
        def after_train_iter(self, one):
            if one.iter == 1:
                engine(tmp_path / 'in', stages=stage(epochs=7), hooks=[inner]).launch()

    outer = Speaks(screen)
    engine(tmp_path, stages=stage(epochs=3), hooks=[outer, Launches()]).launch()
    assert [line.split(' ━')[0] for line in inner.seen['train 2']] == ['Epoch 1/7']
    assert [line.split(' ━')[0] for line in outer.seen['train 2']] == ['Epoch 1/3']
    assert not any('━' in line for line in screen.lines())


class Prints(Points):
    def __getitem__(self, index):
        print('sample', index)
        return super().__getitem__(index)


def test_workers_that_write(tmp_path, monkeypatch):
    screen = Screen(200)
    screen.take_over(monkeypatch)
    loader = DataLoader(Prints(), 2, num_workers=1, multiprocessing_context='fork')
    engine(tmp_path, data_loaders={'train': loader}).launch()
    samples = [line for line in screen.lines() if 'sample' in line]
    assert samples == [f'sample {index}' for index in range(10)]


@pytest.mark.parametrize('name', ['TQDMProgressBar', 'RichProgressBar'])
def test_a_bar_of_lightning(tmp_path, monkeypatch, name):
    """It is the only one, and log lines do not go through it."""
    position = LiveRender.position_cursor

    def slowly(live):
        control = position(live)
        if threading.current_thread() is threading.main_thread():
            # Time for rich's own thread to draw in between.
            time.sleep(0.03)
        return control

    monkeypatch.setattr(LiveRender, 'position_cursor', slowly)
    screen = Screen(250)
    screen.take_over(monkeypatch)
    monkeypatch.setenv('COLUMNS', '250')
    seen = []

    class Looks(Hook):
        def before_train_iter(self, engine):
            if engine.iter == 4:
                print('text')
                assert 'Epoch 1' in screen.lines()[-1]

        def before_val_iter(self, engine):
            seen.append(screen.lines())

    hooks = [{'type': 'EventWriterHook', 'interval': 1}, 'PreciseBNHook', Speaks(), Looks(), name]
    stages = stage(epochs=2, **VALIDATED)
    engine(tmp_path, Watched(Speaks()), stages, hooks=hooks).launch()
    lines = written(screen)
    (log,) = tmp_path.glob('*.log')
    logged = log.read_text().splitlines()
    told = ('printed 4', 'begun, ended', 'text', 'logged early')
    assert [line for line in lines if line.startswith('[20')] == logged
    assert [line for line in lines if line in told] == list(told)
    others = [line for line in lines if line not in (*logged, *told)]
    assert len(others) == 1 and re.match(r'Epoch 1(/1)?:? .* 3/3', others[0])
    assert any('Validati' in line for lines in seen for line in lines)
    assert not any('[>' in line or 'Precise BN ' in line for lines in seen for line in lines)


def test_a_bar_that_comes_while_training_runs(tmp_path, monkeypatch):
    screen = Screen(250)
    screen.take_over(monkeypatch)
    seen = {}

    class Comes(Hook):
        def before_train_iter(self, engine):
            print('text')
            seen[engine.iter] = screen.lines()[-1]

        def after_train_epoch(self, engine):
            if engine.epoch == 0:
                engine.register_hook('TQDMProgressBar')

    engine(tmp_path, stages=stage(epochs=2), hooks=[Comes()]).launch()
    assert 'Epoch 1/2 ━' in seen[2] and 'Epoch 1:' in seen[5] and '━' not in seen[5]


def test_who_shows_nothing_live(tmp_path, monkeypatch):
    """Each leaves exactly nncore's bars; the settings of a Trainer count too."""
    calls = []
    monkeypatch.setattr(_display, 'Footer', lambda stream: calls.append(stream))

    def bars(trainer=None, **env):
        screen = Screen(200)
        screen.take_over(monkeypatch)
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            one = engine(tmp_path, stages=stage(**VALIDATED), trainer=trainer)
            one.launch()
        assert any('] 2/2, ' in line for line in screen.lines())

    bars(NNCORE_COMPAT_PROGRESS='plain')
    bars(CI='true')
    bars(TERM='dumb')
    bars(NNCORE_COMPAT_PROGRESS='rich', TERM='dumb')
    bars({'enable_progress_bar': False})
    monkeypatch.setattr('nncore_compat._lightning.progress.is_main_process', lambda: False)
    bars()
    assert calls == []


def test_whom_it_is_drawn_with(monkeypatch):
    screen = Screen()
    screen.take_over(monkeypatch)
    styles = []
    for name in ('rich', 'tqdm'):
        monkeypatch.setitem(
            _display._bar_styles.STYLES, name, lambda stream, name=name: styles.append(name)
        )
    _display.live()
    monkeypatch.setenv('NNCORE_COMPAT_PROGRESS', 'tqdm')
    monkeypatch.setenv('CI', 'true')
    _display.live()
    monkeypatch.setattr(_display._bar_styles, 'find_spec', lambda name: None)
    monkeypatch.setenv('NNCORE_COMPAT_PROGRESS', 'auto')
    monkeypatch.delenv('CI')
    _display.live()
    assert styles == ['rich', 'tqdm', 'tqdm']


def test_what_cannot_be_drawn_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv('NNCORE_COMPAT_PROGRESS', 'fancy')
    with pytest.raises(ValueError, match="must be one of auto, rich, tqdm, plain, but is 'fancy'"):
        engine(tmp_path)
    monkeypatch.setenv('NNCORE_COMPAT_PROGRESS', 'rich')
    monkeypatch.setattr(_display._bar_styles, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='rich is not installed.*pip install rich'):
        engine(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_option_reaches_the_script_and_its_children(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text("import os; os.system('echo $NNCORE_COMPAT_PROGRESS')")

    def main(*options):
        command = [sys.executable, '-m', 'nncore_compat', *options, script]
        env = {**os.environ, 'PYTHONPATH': python_path(ROOT)}
        return subprocess.run(command, env=env, capture_output=True, text=True)

    assert main('--progress', 'tqdm').stdout == 'tqdm\n'
    wrong = main('--progress', 'fancy')
    assert wrong.returncode == 2 and re.search("'fancy' .*auto.*rich.*tqdm.*plain", wrong.stderr)
