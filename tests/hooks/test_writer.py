"""EventWriterHook and its writers."""

import builtins
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import (
    STORE_EVERYTHING_SIZE_GUIDANCE,
    EventAccumulator,
)

import nncore_compat as E
from nncore_compat.hooks.writer import WRITERS, Writer

from . import scenarios
from .fake_engine import FakeEngine, Linear, loaders, sgd

CASES = ('timed', 'groups', 'groups timed', 'untimed')


def events(folder):
    """Returns all that TensorBoard reads below a folder, without wall times."""
    found = {}
    for path in sorted({file.parent for file in folder.rglob('*tfevents*')}):
        log = EventAccumulator(str(path), STORE_EVERYTHING_SIZE_GUIDANCE).Reload()
        tags = log.Tags()
        content = {}
        for kind, read in (
            ('scalars', lambda e: e.value),
            ('histograms', lambda e: e.histogram_value),
            ('images', lambda e: e.encoded_image_string),
            ('tensors', lambda e: e.tensor_proto.string_val),
        ):
            for tag in tags[kind]:
                listed = getattr(log, kind.title())(tag)
                content[kind, tag] = [(e.step, repr(read(e))) for e in listed]
        found[str(path.relative_to(folder))] = content
    return found


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('writing')
    return folder, scenarios.writing(E, folder)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('what', ['lines', 'json', 'wandb', 'left'])
def test_what_is_written_is_nncores(case, what, written, reference):
    assert written[1][case][what] == reference['writing'][case][what]


@pytest.mark.parametrize('case', CASES)
def test_tensorboard_events_are_nncores(case, written, reference_folder, reference):
    theirs = events(reference_folder / 'writing' / case)
    assert events(written[0] / case) == theirs
    main = theirs['tf_logs']
    assert {tag for kind, tag in main if kind == 'scalars'} >= {'loss/train', 'loss/val'}
    assert ('histograms', 'myweights/train') in main
    assert ('images', 'shot/val') in main
    assert ('tensors', 'somelong/train/text_summary') in main
    assert len(theirs) > 1  # dicts of scalars have folders of their own


def test_lines_of_one_iteration_are_whole(tmp_path):
    run(['JSONWriter'], tmp_path)
    lines = (tmp_path / 'metrics.json').read_text().splitlines()
    assert [json.loads(line)['mode'] for line in lines] == ['train'] * 3 + ['val']
    assert [json.loads(line)['iter'] for line in lines] == [2, 4, 5, 0]


def run(writers, folder, model=None, **kwargs):
    stages = [dict(epochs=1, optimizer=sgd, validation=True)]
    hooks = [E.EventWriterHook(interval=2, writers=writers)]
    return FakeEngine(E.Buffer(), hooks, loaders(), stages, model, str(folder), **kwargs).run()


class Mine(Writer):
    """Notes what it is asked for."""

    def __init__(self):
        self.calls = []

    def open(self, engine):
        self.calls.append('open')

    def write(self, engine, window_size):
        self.calls.append((self._collect_metrics(engine, window_size)['iter'], window_size))

    def close(self, engine):
        self.calls.append('close')


def test_a_writer_of_ones_own_by_instance_name_and_config(tmp_path):
    made = []
    WRITERS.register(lambda: made.append(Mine()) or made[-1], name='Mine')
    try:
        given = Mine()
        run([given, 'Mine', {'type': 'Mine'}], tmp_path)
    finally:
        WRITERS.pop('Mine')
    expected = ['open', (2, 2), (4, 2), (5, 1), (0, 5), 'close']
    assert [w.calls for w in (given, *made)] == [expected] * 3


def test_bad_writers():
    with pytest.raises(ValueError, match=r"'JsonWriter'.*writers\[1\].*'JSONWriter'"):
        E.EventWriterHook(writers=['CommandLineWriter', 'JsonWriter'])
    with pytest.raises(TypeError, match=r'writers\[0\] must be a Writer, a dict or a str'):
        E.EventWriterHook(writers=[print])
    with pytest.raises(KeyError, match='type'):
        E.EventWriterHook(writers=[{'filename': 'x'}])
    with pytest.raises(ValueError, match=r'interval must be .* at least 1, but got 0'):
        E.EventWriterHook(interval=0)


def test_a_record_of_unknown_type(tmp_path):
    class Odd(Linear):
        def forward(self, data, mode='train', **kwargs):
            return {**super().forward(data, mode), 'my_sound_': 1}

    with pytest.raises(TypeError, match=r"'sound' \(buffer key 'my_sound_'\).*'audio'"):
        run(['TensorboardWriter'], tmp_path, Odd())


def test_wandb_missing(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == 'wandb':
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ImportError, match='pip install wandb'):
        run(['WandbWriter'], tmp_path)


def test_wandb_settings_may_be_given(tmp_path, monkeypatch):
    wandb = scenarios.FakeWandb()
    monkeypatch.setitem(__import__('sys').modules, 'wandb', wandb)
    run([{'type': 'WandbWriter', 'name': 'mine', 'mode': 'offline'}], tmp_path, meta={'a': 1})
    assert wandb.calls[0] == {'name': 'mine', 'mode': 'offline', 'config': {'a': 1}}


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    for place in ('comm', 'hooks.writer'):
        monkeypatch.setattr(f'nncore_compat.{place}.is_main_process', lambda: False)
    engine = run(['CommandLineWriter', 'JSONWriter', 'TensorboardWriter'], tmp_path)
    assert engine.lines == []
    assert list(tmp_path.iterdir()) == []


def test_the_default_list_is_not_shared():
    E.EventWriterHook()._writers.append('x')
    assert len(E.EventWriterHook()._writers) == 3
