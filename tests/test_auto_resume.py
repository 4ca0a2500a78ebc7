"""Resuming from the newest checkpoint that can be read, and records that go on."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tiny
import torch
from hooks.test_writer import events
from paths import python_path
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from nncore_compat import _elastic, _options, quirks

HERE = Path(__file__).resolve().parent
# What differs from run to run.
TIMES = r'(eta|time|data_time): [^,]*, |\[[^\]]* INFO\]: '


@pytest.fixture(autouse=True)
def no_option(monkeypatch):
    monkeypatch.delenv(_options.RESUME, raising=False)


@pytest.fixture(scope='module')
def killed(tmp_path_factory):
    """Three runs: one that is left alone, and two that are killed and started again."""
    folder = tmp_path_factory.mktemp('killed')
    moments = [
        # Before there is any checkpoint.
        'before_train_iter@2',
        # Twice after the same one, in the middle of an epoch.
        'after_train_iter@4',
        'before_train_iter@4',
        # Before the validation that is still to come, and after it.
        'after_train_epoch@5',
        'after_val_epoch@10',
        'before_train_iter@13',
    ]
    cases = ['whole:', f'auto:{",".join(moments)}', 'by_hand:before_train_iter@5']
    runner = [sys.executable, '-m', 'nncore_compat', '--resume', 'auto']
    env = {k: v for k, v in os.environ.items() if not k.startswith('NNCORE_COMPAT')}
    env |= {'OMP_NUM_THREADS': '1', 'PYTHONPATH': python_path(HERE.parent)}
    done = subprocess.run(
        [*runner, HERE / 'interrupted.py', folder, *cases],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def lines(work_dir):
    """metrics.json without times."""
    read = map(json.loads, (work_dir / 'metrics.json').read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ('time', 'data_time')} for line in read]


def log(work_dir):
    """Messages of the only log file, without times."""
    (file,) = work_dir.glob('*.log')
    return [re.sub(TIMES, '', line) for line in file.read_text().splitlines()]


def scalars(work_dir):
    """What EventAccumulator makes of the event files."""
    found = events(work_dir / 'tf_logs')
    return {
        folder: {key: value for key, value in content.items() if '_time' not in key[1]}
        for folder, content in found.items()
    }


def raw(work_dir):
    """Every value in the event files, and how often it is there."""
    found = Counter()
    for file in work_dir.rglob('*tfevents*'):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found[file.parent.name, event.step, value.tag] += 1
    return found


@pytest.mark.parametrize('read', [lines, scalars, raw])
def test_a_killed_run_has_the_records_of_one_that_was_left_alone(killed, read):
    whole = read(killed / 'whole')
    assert len(whole) >= 3
    assert read(killed / 'auto') == whole


def test_the_log_goes_on_in_one_file(killed):
    whole, auto = log(killed / 'whole'), log(killed / 'auto')
    for word in ('Epoch ', 'Saving '):
        expected = [line.replace('whole', 'auto') for line in whole if line.startswith(word)]
        assert len(expected) > 6
        assert [line for line in auto if line.startswith(word)] == expected
    seams = [line for line in auto if ': going on from' in line]
    # Of two attempts from one checkpoint, the first has left nothing.
    names = ['iter_3', 'epoch_1', 'epoch_2', 'iter_12']
    assert seams == [f"resume='auto': going on from {killed}/auto/{name}.pth" for name in names]


def test_each_value_is_there_once(killed):
    for name in ('whole', 'auto'):
        assert set(raw(killed / name).values()) == {1}


def test_the_weights_are_those_of_the_run_that_was_left_alone(killed):
    whole, auto = (
        torch.load(killed / name / 'epoch_3.pth', weights_only=True)['state_dict']
        for name in ('whole', 'auto')
    )
    for key, value in whole.items():
        assert torch.equal(auto[key], value), key


def test_what_the_script_resumes_from_is_appended_to_as_in_nncore(killed):
    """Nothing is cut, so that the validation that was run twice is there twice."""
    whole, twice = lines(killed / 'whole'), lines(killed / 'by_hand')
    assert [line for line in twice if line not in whole] == []
    assert [line for line in whole if twice.count(line) == 2] == [
        line for line in whole if (line['mode'], line['epoch']) == ('val', 1)
    ]
    assert set(raw(killed / 'by_hand').values()) == {1, 2}
    assert len(list((killed / 'by_hand').glob('*.log'))) == 2


def test_nothing_is_left_over(killed):
    for name in ('whole', 'auto'):
        assert [file.name for file in (killed / name).iterdir() if file.name[0] == '.'] == []


def train(folder, epochs=3, **kwargs):
    """Train in full; the folder has a checkpoint of every epoch then."""
    engine = tiny.engine(folder, stages=tiny.stage(epochs=epochs))
    engine.launch(**kwargs)
    return engine


def messages(engine):
    return Path(engine._log_file).read_text()


def resumed(folder, **kwargs):
    """What an engine begins with, in a folder, and what it says of it."""
    engine = tiny.engine(folder, stages=tiny.stage(epochs=5))
    seen = []
    engine._run.fit = lambda: seen.append((engine.epoch, engine.iter))
    engine.launch(**{'resume': 'auto', **kwargs})
    (begun,) = seen
    return begun, messages(engine)


def as_old(path, age):
    time = 1.7e9 - age
    os.utime(path, (time, time))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    train(folder)
    for epoch in (1, 2, 3):
        as_old(folder / f'epoch_{epoch}.pth', 10 - epoch)
    return folder


@pytest.fixture
def folder(tmp_path, trained):
    """Checkpoints of three epochs, and nothing else."""
    for file in trained.glob('*.pth'):
        (tmp_path / file.name).write_bytes(file.read_bytes())
        os.utime(tmp_path / file.name, ns=(0, file.stat().st_mtime_ns))
    return tmp_path


def test_the_newest_is_taken(folder):
    assert resumed(folder)[0] == (3, 9)
    # By its time, not its number; links are not looked at.
    as_old(folder / 'epoch_1.pth', 0)
    (folder / 'latest.pth').symlink_to('epoch_3.pth')
    (folder / 'epoch_9.pth').symlink_to('gone.pth')
    (folder / 'epoch_x.pth').write_text('not ours')
    begun, log = resumed(folder)
    assert begun == (1, 3)
    assert f"resume='auto': going on from {folder}/epoch_1.pth\n" in log
    assert 'Passing over' not in log


def test_copies_with_one_time(folder):
    """The one that is further, though its name comes first."""
    os.rename(folder / 'epoch_3.pth', folder / 'epoch_0.pth')
    for file in folder.glob('*.pth'):
        as_old(file, 5)
    assert resumed(folder)[0] == (3, 9)


def test_damaged_ones_are_passed_over(folder):
    whole = torch.load(folder / 'epoch_2.pth', weights_only=True)
    data = (folder / 'epoch_3.pth').read_bytes()
    (folder / 'epoch_3.pth').write_bytes(data[: len(data) // 2])
    (folder / 'iter_4.pth').write_text('rubbish')
    (folder / 'iter_5.pth').write_bytes(b'')
    (folder / 'iter_6.pth').mkdir()
    torch.save(whole['state_dict'], folder / 'iter_7.pth')
    torch.save({k: v for k, v in whole.items() if k != 'optimizer'}, folder / 'iter_8.pth')
    torch.save({**whole, 'extra': tiny.Points()}, folder / 'iter_9.pth')
    for file in folder.glob('*.pth'):
        if file.name not in ('epoch_1.pth', 'epoch_2.pth'):
            as_old(file, 1)
    begun, log = resumed(folder)
    assert begun == (2, 6)
    reasons = dict(re.findall(r'WARNING\]: Passing over .*/(\w+)\.pth: (.*)', log))
    assert set(reasons) == {'epoch_3', *(f'iter_{n}' for n in range(4, 10))}
    assert log.count('Passing over') == 7
    assert 'it lacks meta.epoch' in reasons['iter_7']
    assert 'optimizer not found' in reasons['iter_8']
    assert 'tiny.Points' in reasons['iter_9']


def test_all_damaged(folder):
    for file in folder.glob('*.pth'):
        file.write_bytes(file.read_bytes()[:100])
    begun, log = resumed(folder)
    assert begun == (0, 0)
    assert log.count('Passing over') == 3
    assert f"resume='auto': no checkpoint in {folder}, beginning anew" in log


def test_a_checkpoint_of_nncore(tmp_path):
    """Made by hand as nncore makes it: it resumes as nncore does, and nothing is cut."""
    engine = tiny.engine(tmp_path, stages=tiny.stage(epochs=5))
    optimizer = torch.optim.SGD(engine.model.parameters(), lr=0.1)
    meta = dict(epoch=2, iter=6, stages=engine.stages, nncore_version='0.4.7')
    state = dict(meta=meta, state_dict=engine.model.state_dict(), optimizer=optimizer.state_dict())
    torch.save(state, tmp_path / 'epoch_2.pth')
    (tmp_path / 'metrics.json').write_text('{"epoch": 9}\n')
    assert resumed(tmp_path)[0] == (2, 6)
    train(tmp_path, epochs=3, resume='auto')
    assert [line['epoch'] for line in lines(tmp_path)] == [9, 3]


def test_checkpoints_elsewhere(folder, tmp_path):
    engine = tiny.engine(
        tmp_path / 'other',
        stages=tiny.stage(epochs=5),
        hooks=[dict(type='CheckpointHook', out=str(folder))],
    )
    engine._run.fit = lambda: None
    engine.launch(resume='auto')
    assert engine.epoch == 3


def test_a_complete_run_ends_at_once(folder):
    before = torch.load(folder / 'epoch_3.pth', weights_only=True)['state_dict']
    engine = tiny.engine(folder, tiny.Net(), tiny.stage(epochs=3))
    torch.nn.init.zeros_(engine.model.fc.weight)
    events = []
    engine.train_iter = lambda data: events.append('trained')
    engine.launch(resume='auto')
    assert events == [] and (engine.epoch, engine.iter) == (3, 9)
    assert torch.equal(engine.model.fc.weight, before['fc.weight'])


def test_without_a_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = tiny.engine('', stages=tiny.stage())
    assert engine.work_dir.startswith('work_dirs')
    # As if it had been the very same second.
    train(engine.work_dir, 1)
    engine.launch(resume='auto')
    assert engine.iter == 3
    log = messages(engine)
    assert 'the script gives no work_dir' in log and 'Engine(work_dir=...)' in log
    assert 'going on' not in log


def test_the_command_line_goes_over_the_script(folder, monkeypatch):
    first = str(folder / 'epoch_1.pth')
    assert resumed(folder, resume=first)[0] == (1, 3)
    monkeypatch.setenv(_options.RESUME, first)
    assert resumed(folder)[0] == (1, 3)
    monkeypatch.setenv(_options.RESUME, 'auto')
    assert resumed(folder, resume=first)[0] == (3, 9)
    assert resumed(folder, resume=None)[0] == (3, 9)


def test_the_command_line_is_heard_once_per_engine(tmp_path, monkeypatch):
    monkeypatch.setenv(_options.RESUME, 'auto')
    engine = tiny.engine(tmp_path, stages=tiny.stage(epochs=2))
    engine.launch()
    assert engine.iter == 6
    engine.reset_states()
    engine.launch()
    assert (engine.start_iter, engine.iter) == (0, 6)
    # An evaluation has nothing to resume, and does not use it up.
    engine = tiny.engine(tmp_path, stages=tiny.stage(epochs=2))
    engine.launch(eval=True)
    assert engine.epoch == 0
    engine.launch()
    assert engine.start_iter == 6


@pytest.mark.parametrize('found', [True, False])
def test_a_script_that_resumes_itself(folder, tmp_path, found):
    work_dir = folder if found else tmp_path / 'new'
    engine = tiny.engine(work_dir, stages=tiny.stage(epochs=5))
    engine._run.fit = lambda: None
    engine.resume(str(folder / 'epoch_1.pth'))
    engine.launch(resume='auto')
    assert engine.epoch == (3 if found else 1)


def test_the_stage_in_which_the_run_goes_on_is_named(tmp_path, monkeypatch):
    """The end of a stage was saved with its validation still due; nncore passes over that."""
    stages = [tiny.stage(validation={'interval': 1}), tiny.stage()]
    tiny.engine(tmp_path, stages=stages).launch()

    def said(active):
        monkeypatch.setattr(quirks, '_active', frozenset(active))
        folder = tmp_path / f'again {len(active)}'
        again = tiny.engine(folder, stages=stages)
        again.launch(resume=tmp_path / 'epoch_1.pth')
        for handler in again.logger.handlers:
            handler.flush()
        (log,) = folder.glob('*.log')
        return re.findall(r'Resumed stage .*|Stage: \d', log.read_text())

    assert said([]) == ['Resumed stage 1, epoch 1, iter 3', 'Stage: 1', 'Stage: 2']
    assert said(quirks.QUIRKS) == ['Resumed stage 2, epoch 1, iter 3', 'Stage: 2']


def test_what_cannot_be_resumed_from(tmp_path):
    engine = tiny.engine(tmp_path)
    with pytest.raises(ValueError, match=r"launch\(eval='val', resume='auto'\).*load_checkpoint"):
        engine.launch(eval='val', resume='auto')
    with pytest.raises(TypeError, match=r"resume must be 'auto', a checkpoint.*got True"):
        engine.launch(resume=True)
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth'):
        engine.launch(resume='nothing.pth')


def test_unfinished_files_are_swept(tmp_path):
    """Left by a process that was killed while it wrote."""
    code = (
        'import os, sys; from nncore_compat import _files\n'
        'with _files.replacing(sys.argv[1]) as file:\n'
        '    file.write(b"half"); os._exit(0)'
    )
    subprocess.run([sys.executable, '-c', code, tmp_path / 'epoch_1.pth'], check=True, timeout=300)
    (left,) = tmp_path.iterdir()
    mine = tmp_path / '.my.tmp'
    mine.touch()
    train(tmp_path, 1)
    assert not left.exists() and mine.exists()


@pytest.fixture
def restart(monkeypatch):
    """Say what torchrun says."""

    def restart(count):
        monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '3')
        monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', str(count))

    return restart


def test_restarts_take_only_what_is_of_this_run(folder, restart):
    restart(0)
    assert resumed(folder, resume=None)[0] == (0, 0)
    restart(1)
    begun, log = resumed(folder, resume=None)
    assert begun == (0, 0) and f'Restart 1: no checkpoint of this run in {folder}' in log
    # Written again, and one in the middle of an epoch; the newest is damaged.
    file = torch.load(folder / 'epoch_2.pth', weights_only=True)
    file['meta'].update(epoch=1, iter=4)
    torch.save(file, folder / 'iter_4.pth')
    (folder / 'iter_5.pth').write_text('torn')
    begun, log = resumed(folder, resume=None)
    assert begun == (1, 4)
    assert f'Passing over {folder}/iter_5.pth' in log
    assert f'Restart 1: going on from {folder}/iter_4.pth' in log
    # A script, or an option, that is further than that is left alone.
    assert resumed(folder, resume=str(folder / 'epoch_3.pth'))[0] == (3, 9)
    assert resumed(folder, resume=str(folder / 'epoch_1.pth'))[0] == (1, 4)


def test_the_mark_of_restarts_may_be_torn(tmp_path):
    assert _elastic.marked(tmp_path) is None
    (tmp_path / _elastic.MARK).write_text('{"epo')
    assert _elastic.marked(tmp_path) is None
