"""The parts of the comparison, each by itself."""

import json
import os
import pty
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest
import torch

from nncore_compat import __main__, _options, quirks
from nncore_compat._verify import attach, child, children, command, digests, files, state, values
from nncore_compat._verify.search import explain
from nncore_compat._verify.trace import ABSENT, Trace, compare

ROOT = Path(find_spec('nncore_compat').origin).parents[1]


def trace(folder, name, *lines):
    path = folder / name
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    read = Trace(str(path))
    read.poll()
    return read


def record(what, gone=(), engine=None, mode=None, **changed):
    head = {
        'what': what,
        **({'engine': engine} if engine else {}),
        **({'mode': mode} if mode else {}),
    }
    return {'head': head, 'changed': changed, 'gone': list(gone)}


BEGIN = record('made', a='1', b='x'), record('batch', mode='train', b='y')


@pytest.mark.parametrize(
    ('ours', 'index', 'changes'),
    [
        ([*BEGIN, record('output', a='2')], None, []),
        ([*BEGIN, record('output', a='3')], 2, [('a', '2', '3')]),
        ([*BEGIN, record('output')], 2, [('a', '2', '1')]),
        ([*BEGIN, record('output', a='2', c='4')], 2, [('c', ABSENT, '4')]),
        ([*BEGIN, record('output', ['b'], a='2')], 2, [('b', 'y', ABSENT)]),
        ([*BEGIN, record('output', engine=2, a='2')], 2, []),
        ([*BEGIN, record('stop', a='2')], 2, []),
        (BEGIN, 2, []),
        ([*BEGIN, record('output', a='2'), record('stop')], 3, []),
        ([record('made', a='1'), *BEGIN[1:]], 0, [('b', 'x', ABSENT)]),
    ],
)
def test_where_two_traces_part(tmp_path, ours, index, changes):
    one = trace(tmp_path, 'one', *BEGIN, record('output', a='2'))
    found = compare(one, trace(tmp_path, 'two', *ours))
    assert (found and found.index) == index
    assert (found.changes if found else []) == changes
    assert index is None or compare(one, trace(tmp_path, 'two', *ours), index - 1) is None


def test_engines_have_states_of_their_own(tmp_path):
    lines = record('made', a='1'), record('made', engine=2, a='5'), record('launch')
    one = trace(tmp_path, 'one', *lines)
    found = compare(one, trace(tmp_path, 'two', *lines[:2], record('launch', a='2')))
    assert found.changes == [('a', '1', '2')] and found.state['a'] == '1'


def test_a_trace_is_read_while_it_is_written(tmp_path):
    path = tmp_path / 'trace'
    read = Trace(str(path))
    read.poll()
    whole = json.dumps(BEGIN[1]) + '\n' + json.dumps({'note': {'met': 'eval-interval'}}) + '\n'
    for end in (1, 20, len(whole) - 1, len(whole)):
        path.write_text(whole[:end])
        read.poll()
    assert len(read.records) == 1 and read.trained == 1 and read.met == ['eval-interval']


@pytest.mark.parametrize(
    ('needed', 'met', 'expected', 'most'),
    [
        ({'eval-interval'}, ['eval-interval'], ['eval-interval'], 1),
        ({'eval-interval'}, ['hook-defaults', 'eval-interval'], ['eval-interval'], 3),
        (
            {'eval-interval', 'inexact-resume'},
            ['hook-defaults', 'eval-interval', 'inexact-resume'],
            ['eval-interval', 'inexact-resume'],
            8,
        ),
        # The second one is met behind the first difference.
        ({'eval-interval', 'inexact-resume'}, ['eval-interval'], None, 8),
        ({'single-loader'}, [], ['single-loader'], 8),
        ({'something else'}, ['hook-defaults'], 'nothing', 2),
    ],
)
def test_which_quirks_explain_it(needed, met, expected, most):
    tried = []

    def attempt(names):
        tried.append(list(names))
        return needed <= set(names), [*met, *needed & set(quirks.QUIRKS)]

    found = explain(['validation-offset'], met, attempt)
    assert found == (None if expected == 'nothing' else expected or sorted(needed))
    assert len(tried) <= most and all('validation-offset' in names for names in tried)


BITS = [
    torch.tensor([0.0, 1.0]),
    torch.tensor([-0.0, 1.0]),
    torch.tensor([0.0, 1.0], dtype=torch.float64),
    torch.tensor([[0.0, 1.0]]),
    torch.tensor([0.0, 1.0], dtype=torch.bfloat16),
    torch.tensor([0.0, float('nan')]),
    torch.tensor([0, 1]),
    torch.tensor([True, False]),
    torch.zeros(2, dtype=torch.complex64),
    torch.tensor([0.0, 1.0]).numpy(),
    torch.tensor(1.0),
    torch.tensor(1),
    [0.0, 1.0],
    [0.0, 1.5],
    [torch.zeros(2)],
    [torch.zeros(2, dtype=torch.int32)],
    [torch.zeros(1, 2)],
    (1, [2, {'a': 3}]),
    (1, [2, {'a': 4}]),
    (1, [2, {'b': 3}]),
    {'a', 'b'},
    0.1 + 0.2,
    0.3,
    None,
    'text' * 50,
    'text' * 51,
]


def test_words_are_the_same_only_for_the_same_bits():
    words = [digests.text(value) for value in BITS]
    assert len(set(words)) == len(words)
    wide = torch.arange(12.0).reshape(3, 4)
    assert digests.text(wide.t().contiguous()) == digests.text(wide.t())
    assert digests.text(wide.to_sparse()) == digests.text(wide)
    assert digests.text(torch.nn.Parameter(wide)) == digests.text(wide)
    assert digests.text(torch.tensor(1.5)) == 'float32 1.5' and digests.text(0.1) == '0.1'

    class Box:
        def __init__(self, data, name):
            self.data, self.name, self.function = data, name, lambda: data

    assert digests.text(Box(wide, 'a')) == digests.text(Box(wide.clone(), 'a'))
    assert digests.text(Box(wide, 'a')) != digests.text(Box(wide + 1, 'a'))
    endless = Box(wide, 'a')
    endless.data = [endless]
    assert digests.text(endless).startswith('Box #')


@pytest.mark.parametrize(
    ('a', 'b', 'lines'),
    [
        (
            torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
            torch.tensor([[1.0, 2.5], [3.0, 4.25]]),
            ['2 of 4 elements differ, by 0.5 at most, at', '[0, 1]: A 2.0, B 2.5'],
        ),
        (
            torch.tensor([0.1, 0.2]),
            torch.tensor([0.1, 0.2]).nextafter(torch.tensor(1.0)) * torch.tensor([1, 0])
            + torch.tensor([0, 0.2]),
            ['1 of 2 elements differs, by 7.45e-09, at', '[0]: A 0.1, B 0.10000001'],
        ),
        (
            torch.tensor([0.0]),
            torch.tensor([-0.0]),
            ['only in the signs of zeros, or the bits of NaN'],
        ),
        (
            torch.tensor([1, 2]),
            torch.tensor([1, 3]),
            ['1 of 2 elements differs, by 1, at', '[1]: A 2, B 3'],
        ),
        (
            torch.tensor([1.0, float('nan')]),
            torch.tensor([1.0, 2.0]),
            ['1 of 2 elements differs, by inf, at', '[1]: A nan, B 2.0'],
        ),
        (torch.tensor([1.0]), torch.tensor([1.0, 2.0]), []),
        (None, torch.tensor([1.0]), []),
    ],
)
def test_what_differs_between_tensors(tmp_path, a, b, lines):
    for name, value in (('a', a), ('b', b)):
        torch.save(value, tmp_path / name)
    assert values.describe(tmp_path / 'a', tmp_path / 'b', ('A', 'B')) == lines


class Engine:
    """As much of an engine as can be seen."""

    def __init__(self):
        self.model = torch.nn.Linear(4, 4)
        self.hooks = {}
        self.buffer = type('Buffer', (), {'keys': lambda self: []})()


@pytest.mark.parametrize('small', [0, 2**22])
def test_a_change_that_torch_does_not_know_of_is_seen_at_the_next_full_look(monkeypatch, small):
    monkeypatch.setattr(state, '_SMALL', small)
    engine = Engine()
    view = state.View(engine)
    assert 'model.weight' in view.changes(full=False)[0]
    assert 'model.weight' not in view.changes(full=True)[0]
    with torch.no_grad():
        engine.model.weight[0, 0] = 5
    assert 'model.weight' in view.changes(full=False)[0]
    engine.model.weight.data[0, 0] = 6
    assert ('model.weight' in view.changes(full=False)[0]) == bool(small)
    assert ('model.weight' in view.changes(full=True)[0]) != bool(small)
    torch.rand(1)
    assert list(view.changes(full=False)[0]) == ['random state of torch']


COMMANDS = [
    (['--verify', 'main.py', '5'], 20, ['main.py', '5']),
    (['--verify', '50', 'main.py'], 50, ['main.py']),
    (['--verify=50', 'main.py', '--verify'], 50, ['main.py', '--verify']),
    (['--verify', '-m', 'package.part', 'x'], 20, ['-m', 'package.part', 'x']),
    (['--verify', '7', '--quirks', 'all', '-m', 'part'], 7, ['-m', 'part']),
    (['--precision', '64-true', '--verify', 'main.py'], 20, ['main.py']),
    (['--devices', '1', '--verify', 'main.py'], 20, ['main.py']),
]


@pytest.fixture
def line(monkeypatch):
    """Give the command a command line, whose environment is not kept."""
    for name in (quirks.ENV, _options.ENV, _options.RESUME, _options.LOOP):
        monkeypatch.setenv(name, '')
    monkeypatch.setattr(quirks, '_active', None)
    given = []
    monkeypatch.setattr(command, 'run', lambda *args: given.append(args) or 1)

    def call(*argv):
        with pytest.raises(SystemExit) as ended:
            __main__.main(argv)
        return ended.value.code, given

    return call


@pytest.mark.parametrize(('argv', 'count', 'target'), COMMANDS)
def test_the_number_may_be_left_out(line, argv, count, target):
    assert line(*argv) == (1, [(count, target)])


@pytest.mark.parametrize(
    ('argv', 'env', 'words'),
    [
        (['--verify', '0', 'main.py'], {}, 'N must be at least 1, but is 0'),
        (['--verify=x', 'main.py'], {}, "invalid int value: 'x'"),
        (['--verify', '5'], {}, 'no script given'),
        (['--verify', '--devices', '2', 'main.py'], {}, 'leave out --devices 2'),
        (['--verify', '--num-nodes', '2', 'main.py'], {}, 'leave out --num-nodes 2'),
        (['--verify', '--strategy', 'ddp_spawn', 'main.py'], {}, 'trains in other processes'),
        (['--verify', '--resume', 'auto', 'main.py'], {}, '--resume has no meaning for nncore'),
        (['--verify', '--timeline', 'main.py'], {}, '--timeline has no meaning for nncore'),
        (['--verify', 'main.py'], {'WORLD_SIZE': '2'}, 'a launcher has set WORLD_SIZE=2'),
    ],
)
def test_what_cannot_be_compared_is_refused(line, monkeypatch, capsys, argv, env, words):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert line(*argv) == (2, [])
    assert words in capsys.readouterr().err


def tree(folder):
    """What is in a folder: the files with what they hold, links with where they lead."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.is_file() and path.read_bytes()
        for path in sorted(folder.rglob('*'))
    }


@pytest.fixture
def acted(tmp_path):
    """Have a process do something in a folder, watched; and restore what was in the others."""
    journals = (tmp_path / f'journal{number}' for number in count())

    def act(code, folders):
        journal = next(journals)
        watched = f"""
import os, pathlib, shutil, sys
sys.path.insert(0, {str(ROOT)!r})
from nncore_compat._verify import files
files._LARGEST = 20
files.watch({str(journal)!r}, [])
os.chdir({str(tmp_path)!r})
"""
        done = subprocess.run(
            [sys.executable, '-c', watched + textwrap.dedent(code)], capture_output=True, text=True
        )
        return files.restore(files.read(str(journal)), folders), done.stderr

    return act


@pytest.fixture
def work(tmp_path):
    """A folder with files and links in it, one of them large."""
    folder = tmp_path / 'work'
    (folder / 'old' / 'deep').mkdir(parents=True)
    (folder / 'old' / 'a').write_text('1')
    (folder / 'old' / 'deep' / 'd').write_text('4')
    (folder / 'b').write_text('2')
    (folder / 'large').write_text('x' * 30)
    (folder / 'latest').symlink_to('b')
    (folder / 'empty').mkdir()
    (tmp_path / 'outside').write_text('3')
    return folder


ACTS = {
    'files are written and made': """
        open('work/old/a', 'a').write('more')
        os.rename('work/b', 'work/c')
        open('work/c', 'w').write('other')
        os.makedirs('work/new/deep')
        open('work/new/deep/d', 'w')
        os.symlink('a', 'work/old/link')
        open('work/latest', 'w')
    """,
    'all is removed': "shutil.rmtree('work')",
    'it is emptied, and files of the same names are made': """
        shutil.rmtree('work')
        os.makedirs('work/old')
        open('work/old/a', 'w').write('new')
        os.remove('work/old/a')
        open('work/old/a', 'w').write('newer')
    """,
    'it gets another name': """
        os.rename('work', 'work_old')
        open('work_old/b', 'w').write('changed there')
        os.remove('work_old/large')
        os.mkdir('work')
        open('work/log', 'w')
    """,
    'files take the places of others': """
        for _ in range(3):
            open('work/new', 'w').write('new')
            os.replace('work/new', 'work/b')
            os.replace('work/large', 'work/old/a')
            os.replace('work/old/a', 'work/large')
    """,
    'links are removed and made': """
        os.remove('work/latest')
        os.symlink('large', 'work/latest')
        os.link('work/b', 'work/another')
        open('work/another', 'w').write('through the other name')
        os.rmdir('work/empty')
    """,
    'something comes from outside, and goes': """
        shutil.move('work/old', 'elsewhere')
        shutil.copytree('elsewhere', 'work/copy')
        shutil.move('work/large', 'outside_too')
    """,
    'removed within another folder': """
        os.chdir('work/old')
        pathlib.Path('a').unlink()
        shutil.rmtree('deep')
    """,
}


@pytest.mark.parametrize('code', ACTS.values(), ids=ACTS)
def test_a_folder_is_put_back(acted, work, tmp_path, code):
    before = tree(work)
    (done, left), said = acted(code, [str(work)])
    assert said == '' and left == []
    assert tree(work) == before and done
    assert not (tmp_path / 'elsewhere').exists() and not (tmp_path / 'work_old').exists()


def test_what_is_outside_stays_as_the_script_has_left_it(acted, work, tmp_path):
    (done, left), _ = acted("open('outside', 'w'); os.remove('work/b')", [str(work)])
    assert (tmp_path / 'outside').read_text() == ''
    assert (done, left) == ([str(work / 'b')] * 2, [])


def test_large_files_are_told_or_not_touched(acted, work):
    (_, left), _ = acted("open('work/large', 'r+').write('y')", [str(work)])
    assert left == [str(work / 'large')] and (work / 'large').read_text()[:2] == 'yx'
    before = tree(work)
    (_, left), said = acted("open('work/large', 'w')", [str(work)])
    assert 'work/large is about to be lost' in said and tree(work) == before


def test_the_environment_of_both_sides(monkeypatch, tmp_path):
    monkeypatch.delenv('PYTHONHASHSEED', raising=False)
    monkeypatch.setenv('NNCORE_COMPAT_ALIAS', '1')
    monkeypatch.setenv('MINE', 'x')
    env = children._environment(children.Job('nncore', ['main.py'], 1, {'MORE': 'y'}), tmp_path)
    assert (env['PYTHONHASHSEED'], env['MINE'], env['MORE']) == ('0', 'x', 'y')
    assert env['WANDB_MODE'] == 'disabled' and 'NNCORE_COMPAT_ALIAS' not in env
    monkeypatch.setenv('PYTHONHASHSEED', '7')
    assert children._environment(children.Job('ours', [], 1), tmp_path)['PYTHONHASHSEED'] == '7'


def test_seeds_have_eight_digits_as_those_that_are_drawn():
    assert len(str(attach.SEED)) == 8 and child.SEED >= 0


def test_one_line_on_a_terminal_that_changes(tmp_path):
    path = tmp_path / 'trace'
    lines = [record('epoch', mode='train'), record('batch', mode='train')]
    lines += [record('epoch', mode='val'), record('batch', mode='val')]
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from nncore_compat._verify.display import Display
from nncore_compat._verify.trace import Trace
display, trace = Display(20), Trace({str(path)!r})
display.begin('nncore')
display.update(trace)
trace.poll()
display.update(trace)
display.end(trace)
"""
    parent, kid = pty.openpty()
    subprocess.run([sys.executable, '-c', code], stdout=kid, check=True)
    os.close(kid)
    shown = os.read(parent, 10000).decode().replace('\x1b[K', '').split('\r')
    os.close(parent)
    assert shown == [
        '',
        'nncore: starting, 0 s',
        'nncore: iteration 1, validation, batch 1, 0 s',
        # In the place of that line.
        'nncore: 1 iteration, 0 s',
        '\n',
    ]
    plain = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert plain.stdout == 'nncore: running\nnncore: 1 iteration, 0 s\n'
