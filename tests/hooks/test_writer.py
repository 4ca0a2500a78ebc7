"""EventWriterHook and its writers."""

import builtins
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (
    STORE_EVERYTHING_SIZE_GUIDANCE,
    EventAccumulator,
)
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.tensorboard import SummaryWriter

import nncore_compat as E
from nncore_compat._logging import get_logger
from nncore_compat.hooks._records import MARK, Records
from nncore_compat.hooks.writer import WRITERS, JSONWriter, Writer

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


def raw_events(folder):
    """Returns the events of each folder in their order, as they are in the files."""
    found = {}
    for path in sorted(folder.rglob('*tfevents*')):
        listed = found.setdefault(str(path.parent.relative_to(folder)), [])
        for data in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(data)
            event.ClearField('wall_time')
            listed.append(event.SerializeToString(deterministic=True))
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
    assert raw_events(written[0] / case) == raw_events(reference_folder / 'writing' / case)
    main = theirs['tf_logs']
    assert {tag for kind, tag in main if kind == 'scalars'} >= {'loss/train', 'loss/val'}
    assert ('histograms', 'myweights/train') in main
    assert ('images', 'shot/val') in main
    assert ('tensors', 'somelong/train/text_summary') in main
    assert len(theirs) > 1  # dicts of scalars have folders of their own


def test_writers_that_change_the_buffer_do_it_for_those_after_them(reference, ours):
    assert ours('meddling') == reference['meddling']


def test_writers_share_averages(tmp_path, monkeypatch):
    asked = []

    class Counting(E.Buffer):
        def avg(self, key, *args, **kwargs):
            asked.append(key)
            return super().avg(key, *args, **kwargs)

        def mean(self, key, *args, **kwargs):
            asked.append(key)
            return super().mean(key, *args, **kwargs)

    monkeypatch.setitem(sys.modules, 'wandb', scenarios.FakeWandb())
    stages = [dict(epochs=1, optimizer=sgd)]
    writers = ['CommandLineWriter', 'JSONWriter', 'TensorboardWriter', 'WandbWriter']
    hooks = [E.hooks.TimerHook(), E.EventWriterHook(interval=5, writers=writers)]
    FakeEngine(Counting(), hooks, loaders(), stages, work_dir=str(tmp_path)).run()
    assert sorted(asked) == sorted(['_iter_time', '_data_time', 'loss', 'other_loss'])


class Board:
    """An engine that has a TensorboardWriter and a SummaryWriter write the same."""

    def __init__(self, folder):
        stages = [dict(epochs=1)]
        self.engine = FakeEngine(E.Buffer(), [], loaders(), stages, work_dir=str(folder / 'ours'))
        self.engine.mode = 'train'
        self.folder = folder
        self.ours = WRITERS.get('TensorboardWriter')()
        self.ours.open(self.engine)
        self.theirs = SummaryWriter(str(folder / 'theirs' / 'tf_logs'))

    def write(self, values):
        self.engine.buffer.clear()
        self.engine.buffer.update('_avg_factor', 1)
        for key, value in values.items():
            self.engine.buffer.update(key, value)
            record = key.endswith('_')
            tag = key.split('_')[0] + '/train'
            add = self.theirs.add_image if record else self.theirs.add_scalar
            add(tag, value, global_step=self.engine.iter + 1)
        self.ours.write(self.engine, 1)
        self.engine.iter += 1

    def written(self):
        self.theirs.flush()
        return raw_events(self.folder / 'ours'), raw_events(self.folder / 'theirs')


def test_scalars_are_in_the_file_at_once(tmp_path):
    board = Board(tmp_path)
    for value in (0.5, 0.25):
        board.write({'loss': value, 'acc': 1 - value})
        ours, theirs = board.written()
        assert ours == theirs and ours
    # No thread has to do it, which would take longer.
    assert type(board.ours._writer.file_writer.event_writer) is not EventFileWriter
    board.ours.close(board.engine)
    assert raw_events(tmp_path / 'ours') == theirs


def test_large_events_keep_their_place(tmp_path):
    board = Board(tmp_path)
    noise = torch.rand(3, 64, 64)
    for _ in range(2):
        board.write({'loss': 0.5, 'shot_image_': noise, 'acc': 1.0})
        board.write({'loss': 0.5})
    board.ours.position()
    ours, theirs = board.written()
    assert ours == theirs
    assert max(map(len, ours['tf_logs'])) > 10_000
    board.write({'shot_image_': noise, 'loss': 0.5})
    board.ours.close(board.engine)
    _, theirs = board.written()
    assert raw_events(tmp_path / 'ours') == theirs


def test_those_who_listen_to_tensorboard_hear_all(tmp_path, monkeypatch):
    """Other loggers put functions of theirs in the place of its own."""
    heard = []
    real = EventFileWriter.add_event

    def listen(self, event):
        heard.append(event)
        real(self, event)

    monkeypatch.setattr(EventFileWriter, 'add_event', listen)
    board = Board(tmp_path)
    heard.clear()
    board.write({'loss': 0.5, 'acc': 1.0})
    assert [event.summary.value[0].tag for event in heard] == ['loss/train', 'acc/train'] * 2
    board.ours.close(board.engine)
    ours, theirs = board.written()
    assert ours == theirs


def test_a_writer_that_opens_its_own_files(tmp_path):
    class Other(E.hooks.TensorboardWriter):
        def __init__(self):
            self.calls = []

        def open(self, engine):
            self._writer = self

        def add_scalar(self, *args, **kwargs):
            self.calls.append(args)

        def close(self, engine):
            pass

        position = Writer.position

    other = Other()
    run([other], tmp_path)
    assert [tag for tag, _ in other.calls[:2]] == ['loss/train', 'other_loss/train']
    assert not list(tmp_path.rglob('*tfevents*'))


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
    for place in ('comm', 'hooks.writer', 'hooks._writers.command_line'):
        monkeypatch.setattr(f'nncore_compat.{place}.is_main_process', lambda: False)
    engine = run(['CommandLineWriter', 'JSONWriter', 'TensorboardWriter'], tmp_path)
    assert engine.lines == []
    assert list(tmp_path.iterdir()) == []


def test_the_default_list_is_not_shared():
    E.EventWriterHook()._writers.append('x')
    assert len(E.EventWriterHook()._writers) == 3


def run_of_a_hook(folder, writers, records=None, saved=None, saves_at=None, **kwargs):
    """Runs an engine whose state is noted in an iteration, as a checkpoint does it."""
    stages = [dict(epochs=1, optimizer=sgd, validation=True)]
    hook = E.EventWriterHook(interval=2, writers=writers)

    class Save(E.Hook):
        def after_train_iter(self, engine):
            if engine.iter == saves_at:
                engine.state = hook.state_dict()

    hooks = [hook, Save()]
    engine = FakeEngine(E.Buffer(), hooks, loaders(), stages, None, str(folder), **kwargs)
    engine._records = records
    if saved is not None:
        engine._resuming = {'nncore_compat': {'ranks': [{'hooks': {'EventWriterHook': saved}}]}}
    return engine.run()


def taken_up():
    return Records(goes_on=True, origin='iter_4.pth')


@pytest.mark.parametrize('writer', ['JSONWriter', 'TensorboardWriter'])
def test_records_go_back_to_where_a_checkpoint_was_saved(tmp_path, writer):
    """What another run then adds is as if nothing had been written after the checkpoint."""

    def content():
        if writer == 'JSONWriter':
            return (tmp_path / 'metrics.json').read_text().splitlines()
        return list(events(tmp_path)['tf_logs'].items())

    state = run_of_a_hook(tmp_path, [writer], saves_at=3).state
    first = content()
    torch.save(state, tmp_path / 'state')
    assert torch.load(tmp_path / 'state', weights_only=True) == state
    run_of_a_hook(tmp_path, [writer], taken_up(), state)
    if writer == 'JSONWriter':
        assert content() == first[:2] + first
    else:
        both = dict(content())
        for key, values in first:
            early = [value for value in values if value[0] <= 4] if 'train' in key[1] else []
            assert both[key] == early + values, key


def test_a_writer_is_given_back_what_it_noted(tmp_path):
    class Noting(Mine):
        def position(self):
            return {'calls': len(self.calls)}

        def go_back(self, engine, position):
            self.calls.append(position)

    first = Noting()
    state = run_of_a_hook(tmp_path, [first], saves_at=3).state
    assert first.calls[0] == 'open'
    again, other = Noting(), Mine()
    run_of_a_hook(tmp_path, [again, other], taken_up(), state)
    assert again.calls[:2] == [{'calls': 3}, 'open'] and other.calls[0] == 'open'
    # Another writer in its place, and a resume that the script has asked for.
    for writer, records in (Mine(), taken_up()), (Noting(), None):
        run_of_a_hook(tmp_path, [writer], records, state)
        assert writer.calls[0] == 'open'


def events_files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*tfevents*')}


def test_events_of_others_are_left_alone(tmp_path):
    """Of other runs, of other writers, and in folders that only look alike."""
    folder = tmp_path / 'tf_logs'
    state = run_of_a_hook(tmp_path, ['TensorboardWriter'], saves_at=3).state
    mine = set(events_files(folder))
    # Another run, which went without a resume, and something that the script writes itself.
    run_of_a_hook(tmp_path, ['TensorboardWriter'])
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar('x', 1)
    others = {k: v for k, v in events_files(folder).items() if k not in mine}
    assert len(others) == 2
    run_of_a_hook(tmp_path, ['TensorboardWriter'], taken_up(), state)
    found = events_files(folder)
    assert {k: found[k] for k in others} == others
    assert len(found) == 4


def test_event_files_that_came_after_the_checkpoint_are_removed(tmp_path):
    folder = tmp_path / 'tf_logs'
    state = run_of_a_hook(tmp_path, ['TensorboardWriter'], saves_at=3).state
    (first,) = events_files(folder)
    run_of_a_hook(tmp_path, ['TensorboardWriter'], taken_up(), state)
    second = set(events_files(folder)) - {first}
    # A third attempt goes on from the same checkpoint: the second has never been.
    run_of_a_hook(tmp_path, ['TensorboardWriter'], taken_up(), state)
    found = set(events_files(folder))
    assert first in found and not second & found and len(found) == 2


def test_hostile_notes_reach_no_other_file(tmp_path):
    """A checkpoint may come from anywhere."""
    outside = tmp_path / 'outside.log'
    outside.write_text('precious')
    work_dir = tmp_path / 'run'
    writers = ['CommandLineWriter', 'JSONWriter', 'TensorboardWriter']
    state = run_of_a_hook(work_dir, writers, saves_at=3).state
    noted = {'size': 0, 'path': str(outside), 'tail': 0}
    hostile = [
        {'name': '../outside.log', **noted},
        {'name': 'metrics.json', **noted},
        {'mark': '*', 'sizes': {}},
    ]
    for entry, position in zip(state['writers'], hostile, strict=True):
        entry[1] = position
    before = events_files(work_dir)
    lines = (work_dir / 'metrics.json').read_text()
    engine = run_of_a_hook(work_dir, writers, taken_up(), state)
    assert outside.read_text() == 'precious'
    assert (work_dir / 'metrics.json').read_text() == lines * 2
    assert before.items() <= events_files(work_dir).items()
    assert sum('is not the file' in line for line in engine.lines) == 1


@pytest.mark.parametrize('what', ['moved', 'linked', 'shorter', 'torn', 'gone', 'other', 'empty'])
def test_metrics_that_are_not_where_or_what_they_were(tmp_path, what):
    run_dir, file = tmp_path / 'run', tmp_path / 'run' / 'metrics.json'
    state = run_of_a_hook(run_dir, ['JSONWriter'], saves_at=0 if what == 'empty' else 3).state
    lines = file.read_text().splitlines(keepends=True)
    kept = lines[:2]
    if what == 'moved':
        run_dir = tmp_path / 'moved'
        shutil.move(tmp_path / 'run', run_dir)
        file = run_dir / 'metrics.json'
    elif what == 'linked':
        file.rename(tmp_path / 'real.json')
        file.symlink_to(tmp_path / 'real.json')
    elif what == 'shorter':
        file.write_text(lines[0])
        kept = lines[:1]
    elif what == 'torn':
        # Lost in a power cut.
        file.write_text(lines[0] + lines[1][:-5])
        kept = lines[:1]
    elif what == 'gone':
        file.unlink()
        kept = []
    elif what == 'other':
        # Longer, and of another run.
        kept = ['{"other": 1}\n'] * 50
        file.write_text(''.join(kept))
    else:
        # Noted before there was a line; in a folder of its own, it may be anybody's.
        run_dir = tmp_path / 'moved'
        run_dir.mkdir()
        file = run_dir / 'metrics.json'
        kept = ['{"other": 1}\n']
        file.write_text(kept[0])
    engine = run_of_a_hook(run_dir, ['JSONWriter'], taken_up(), state)
    assert file.read_text().splitlines(keepends=True) == kept + lines
    assert file.is_symlink() == (what == 'linked')
    told = any('is not the file' in line for line in engine.lines)
    assert told == (what in ('shorter', 'torn', 'other', 'empty'))


def test_records_of_a_run_that_never_saved(tmp_path):
    """What is left of it is cut to where it began, by the next one that takes it up."""
    file = tmp_path / 'metrics.json'
    file.write_text('{"other": 1}\n')

    class Dies(Linear):
        calls = 0

        def forward(self, *args, **kwargs):
            self.calls += 1
            if self.calls == 4:
                raise KeyboardInterrupt
            return super().forward(*args, **kwargs)

    def start(records, model=None):
        engine = FakeEngine(
            E.Buffer(),
            [E.EventWriterHook(interval=2, writers=['JSONWriter'])],
            loaders(),
            [dict(epochs=1, optimizer=sgd)],
            model,
            str(tmp_path),
        )
        engine._records = records
        if model is not None:
            with pytest.raises(KeyboardInterrupt):
                engine.run()
        else:
            engine.run()
        return file.read_text().splitlines()

    one = start(Records(goes_on=True), Dies())
    assert len(one) == 2 and (tmp_path / MARK).exists()
    assert start(Records(goes_on=True), Dies()) == one
    # Not one that is new, or starts from somewhere else.
    assert start(Records(goes_on=False), Dies()) == one + one[1:]
    assert start(Records(goes_on=True, origin='epoch_1.pth'), Dies()) == one + one[1:] * 2
    assert start(Records(goes_on=True, origin='epoch_1.pth'), Dies()) == one + one[1:] * 2
    assert len(start(Records(goes_on=True, origin='epoch_1.pth'))) == 3 + 3
    assert not (tmp_path / MARK).exists()
    # A plain start is not taken up.
    start(Records(goes_on=True), Dies())
    start(None, Dies())
    assert not (tmp_path / MARK).exists()
    (tmp_path / MARK).write_text('{"torn')
    start(Records(goes_on=True))


def test_the_log_file_goes_on(tmp_path):
    """In the file of the interrupted run, with what the new one had to say first."""

    def engine_with_log(name):
        engine = FakeEngine(
            E.Buffer(),
            [E.EventWriterHook(interval=2, writers=['CommandLineWriter'])],
            loaders(),
            [dict(epochs=1, optimizer=sgd)],
            work_dir=str(tmp_path),
        )
        path = str(tmp_path / name)
        engine.logger = get_logger(f'log of {name} in {tmp_path}', log_file=path)
        engine._log_file = path
        engine._own_log = lambda: engine._log_file
        engine._go_on_in_log = lambda earlier: E.Engine._go_on_in_log(engine, earlier)
        return engine

    first = engine_with_log('20200101000000.log')
    first.logger.info('Kept')
    first.call('before_launch')
    state = first.hooks['EventWriterHook'].state_dict()
    first.logger.info('Written after the checkpoint')
    second = engine_with_log('20200101000001.log')
    second.logger.info('Begun')
    second._records = taken_up()
    second._resuming = {'nncore_compat': {'ranks': [{'hooks': {'EventWriterHook': state}}]}}
    second.call('before_launch')
    second.logger.info('Going on')
    assert [file.name for file in tmp_path.glob('*.log')] == ['20200101000000.log']
    text = (tmp_path / '20200101000000.log').read_text()
    assert [line.split(': ')[1] for line in text.splitlines()] == ['Kept', 'Begun', 'Going on']
    assert second.hooks['EventWriterHook'].state_dict()['writers'][0][1]['size'] == len(text)


def test_wandb_goes_on_with_its_run(tmp_path, monkeypatch):
    wandb = scenarios.FakeWandb()
    wandb.run = type('Run', (), {'id': 'r1'})
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    state = run_of_a_hook(tmp_path, ['WandbWriter'], saves_at=3).state
    name = {'name': tmp_path.name, 'config': None}
    assert wandb.calls[0] == name
    wandb.calls.clear()
    run_of_a_hook(tmp_path, ['WandbWriter'], taken_up(), state)
    assert wandb.calls[0] == {**name, 'id': 'r1', 'resume': 'allow'}
    # What the script says goes over it; a resume of its own begins a new run.
    wandb.calls.clear()
    own = [{'type': 'WandbWriter', 'resume': 'must'}]
    run_of_a_hook(tmp_path, own, taken_up(), state)
    assert wandb.calls[0] == {**name, 'id': 'r1', 'resume': 'must'}
    wandb.calls.clear()
    run_of_a_hook(tmp_path, ['WandbWriter'], None, state)
    assert wandb.calls[0] == name


def test_other_processes_note_nothing(tmp_path, monkeypatch):
    for place in ('comm', 'hooks.writer', 'hooks._writers.command_line'):
        monkeypatch.setattr(f'nncore_compat.{place}.is_main_process', lambda: False)
    assert run_of_a_hook(tmp_path, ['JSONWriter'], taken_up(), {}, saves_at=3).state == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path('/proc/self/io').exists(), reason='needs /proc')
def test_a_line_is_written_in_one_piece(tmp_path):
    """As the kernel counts: a line that is longer than any buffer too."""

    def writes():
        return int(Path('/proc/self/io').read_text().split('syscw: ')[1].split()[0])

    engine = FakeEngine(E.Buffer(), [], loaders(), [dict(epochs=1)], work_dir=str(tmp_path))
    engine.mode, engine.data_loader = 'val', engine.data_loaders['val']
    for index in range(3000):
        engine.buffer.update(f'value_{index}', index / 7)
    engine.buffer.update('_avg_factor', 1)
    writer = JSONWriter()
    writer.open(engine)
    before = writes()
    writer.write(engine, 1)
    assert writes() - before == 1
    assert len((tmp_path / 'metrics.json').read_text()) > 50_000
