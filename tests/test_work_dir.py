"""Where a run has its files: alone, together, and where nothing can be written."""

import errno
import logging
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint

from nncore_compat import Hook, _work_dir
from nncore_compat.hooks import CheckpointHook

SECOND = '20300102030405'


@pytest.fixture
def second(tmp_path, monkeypatch):
    """A second that does not pass, in a folder of its own."""
    monkeypatch.setattr('nncore_compat.engine.time.strftime', lambda *args: SECOND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    """The files below a folder; names of event files have clocks and numbers in them."""
    found = files_of(folder)
    return [re.sub(r'tfevents.*', 'tfevents', name) for name in found]


def files_of(folder):
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob('*') if p.is_file())


def test_runs_of_the_same_second(second):
    """The first has nncore's name; each has its folder, and all of its files in it."""
    engines = [tiny.engine('') for _ in range(3)]
    names = [f'work_dirs/{SECOND}', f'work_dirs/{SECOND}_2', f'work_dirs/{SECOND}_3']
    assert [one.work_dir for one in engines] == names
    for one in engines:
        one.launch()
        assert one.work_dir in names
    found = [files(name) for name in names]
    assert found[0] == found[1] == found[2]
    assert f'{SECOND}.log' in found[0] and 'epoch_1.pth' in found[0]
    logs = [Path(name, f'{SECOND}.log').read_text() for name in names]
    assert [log.count('Launch engine') for log in logs] == [1, 1, 1]


def test_many_at_once(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: _work_dir.claim(str(tmp_path / 'a' / 'b')), range(50)))
        logs = list(pool.map(lambda _: _work_dir.new_log(str(tmp_path), 'c'), range(50)))
    assert len(set(found)) == len(set(logs)) == 50
    assert sorted(os.listdir(tmp_path / 'a')) == sorted(map(os.path.basename, found))


def test_one_folder_for_two_runs(second):
    """As in nncore, if the script says so; but no line of a log is lost."""
    one, other = tiny.engine('w'), tiny.engine('w')
    one.logger.info('first'), other.logger.info('second'), one.logger.info('third')
    texts = [Path('w', f'{SECOND}{end}.log').read_text() for end in ('', '_2')]
    assert [text.count('first') + text.count('third') for text in texts] == [2, 0]
    assert [text.count('second') for text in texts] == [0, 1]


def test_a_clock_that_goes_back(second):
    """Nothing of the file that bears the time already is lost."""
    Path('w').mkdir()
    Path('w', f'{SECOND}.log').write_text('of an hour ago\n')
    tiny.engine('w').logger.info('now')
    assert Path('w', f'{SECOND}.log').read_text() == 'of an hour ago\n'
    assert 'now' in Path('w', f'{SECOND}_2.log').read_text()


def test_a_run_whose_log_is_elsewhere_has_its_folder_too(second, caplog):
    """It makes none before it trains, and none if it does not."""
    engines = [tiny.engine('', logger=logging.getLogger('elsewhere')) for _ in range(2)]
    assert not Path('work_dirs').exists()
    engines[0].launch(eval=True)
    assert not Path('work_dirs').exists()
    for one in engines:
        one.launch()
    assert files(f'work_dirs/{SECOND}') == files(f'work_dirs/{SECOND}_2') != []


class Leaves(Hook):
    """Changes to another folder at an event, and has a file of its own at the end."""

    def __init__(self, event):
        super().__init__()
        setattr(self, event, self.leave)

    def leave(self, engine):
        os.makedirs('elsewhere', exist_ok=True)
        os.chdir('elsewhere')

    def after_launch(self, engine):
        Path(engine.work_dir, 'mine').write_text('')


@pytest.mark.parametrize('event', ['before_launch', 'after_train_epoch', None])
@pytest.mark.parametrize('given', ['w', ''])
def test_a_script_that_changes_directory(second, event, given):
    """All files are where they would be, the last checkpoint is found, the folder is as given."""
    hooks = [
        Leaves(event) if event else Leaves('before_stage'),
        dict(type='CheckpointHook', create_symlink=True, keep_last=1),
        LearningRateMonitor(),
        ModelCheckpoint(),
    ]
    stages = tiny.stage(epochs=2)
    one = tiny.engine(given, hooks=hooks, stages=stages)
    name = given or f'work_dirs/{SECOND}'
    assert one.work_dir == name
    if event is None:
        hooks[0].leave(one)
        assert one.work_dir == str(second / name)
        one.unregister_hook('Leaves')
    one.launch()
    assert one.work_dir == str(second / name)
    found = files(second)
    assert all(file.startswith(f'{name}/') for file in found), found
    kinds = ('.log', 'metrics.json', '/epoch_2.pth', '/latest.pth', '.ckpt', 'tf_logs/events')
    assert all(any(kind in file for file in found) for kind in kinds), found
    assert ('mine' in ''.join(found)) == (event is not None)
    assert f'{name}/epoch_1.pth' not in found
    os.chdir('/')
    again = tiny.engine(second / name, stages=tiny.stage(epochs=3))
    again.launch(resume='auto')
    assert (again.start_iter, again.epoch) == (6, 3)


def test_folders_of_hooks_are_where_they_were_meant(second):
    one = tiny.engine('w', hooks=[CheckpointHook(out='c'), Leaves('after_train_iter')])
    one.launch()
    assert [file for file in files(second) if file.endswith('.pth')] == ['c/epoch_1.pth']


def test_the_folder_may_be_changed_until_the_launch(second):
    one = tiny.engine('w', hooks=[ModelCheckpoint()])
    one.work_dir = 'other'
    one.launch()
    found = files('other')
    assert 'epoch_1.pth' in found and any(file.endswith('.ckpt') for file in found)


@pytest.mark.parametrize('path', ['a b/ü 日本', 'a"b\'c', 'x' * 200, '%s{}'])
def test_names_of_folders(second, path):
    one = tiny.engine(path, stages=tiny.stage(epochs=2))
    one.launch()
    again = tiny.engine(path, stages=tiny.stage(epochs=2))
    again.resume(f'{path}/epoch_1.pth')
    assert again.epoch == 1
    assert f'work_dir: {path}' in Path(path, f'{SECOND}.log').read_text(encoding='utf-8')


# Even root cannot write there.
READ_ONLY = '/sys'


@pytest.mark.skipif(sys.platform != 'linux', reason='needs a folder that nobody can write to')
def test_a_folder_that_cannot_be_written_to(second, tmp_path, monkeypatch):
    """Said before training, with what to do; elsewhere the run has all that it needs."""
    monkeypatch.chdir(READ_ONLY)
    with pytest.raises(PermissionError) as info:
        tiny.engine('')
    assert info.value.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
    words = f"'work_dirs/{SECOND}' in {READ_ONLY}", 'Give Engine(work_dir=...) a folder that can be'
    assert all(text in str(info.value) for text in words)
    with pytest.raises(PermissionError, match=r"'/sys/w'.*Give Engine\(work_dir"):
        tiny.engine('/sys/w')
    # With a log of the script's own, at the launch, if there are files to be written.
    quiet = tiny.engine('', logger=logging.getLogger('elsewhere'))
    with pytest.raises(PermissionError, match=r'Give Engine\(work_dir'):
        quiet.launch()
    assert quiet.iter == 0
    quiet.unregister_hook(['CheckpointHook', 'EventWriterHook'])
    quiet.launch()
    assert quiet.iter == 3
    one = tiny.engine(tmp_path / 'w', hooks=[LearningRateMonitor(), ModelCheckpoint()])
    one.launch()
    assert any('lightning_logs' in file for file in files(tmp_path / 'w'))
