"""Lines at the bottom of a terminal, as an emulator shows them, whoever else writes."""

import builtins
import fcntl
import logging
import os
import subprocess
import sys
import termios
import textwrap
import time
import warnings

import pytest
from paths import python_path

from nncore_compat import _terminal
from nncore_compat._terminal import Footer, terminal
from progress.screen import Screen

BARS = ['bar one ' + '=' * 40, 'bar two ' + '=' * 40]


@pytest.fixture
def screen():
    return Screen(60, 12)


@pytest.fixture
def footer(screen, monkeypatch):
    """What opens one on the screen, which becomes the terminal; pytest takes over between steps."""

    def opened():
        screen.take_over(monkeypatch)
        one = Footer(terminal())
        one.open()
        return one

    yield opened
    while _terminal._watches:
        _terminal._watches[-1].close()


def show(footer, lines=BARS):
    footer.show(lines, footer.size())


def test_what_is_written_stays_whole_above_the_lines(screen, monkeypatch):
    screen.take_over(monkeypatch)
    logger = logging.Logger('early')
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.addHandler(logging.StreamHandler(sys.stderr))
    footer = Footer(terminal())
    footer.open()
    expected = []
    for number in range(40):
        show(footer, [f'bar one {number}', f'bar two {number}'])
        print('printed', number, 'in parts')
        logger.warning('logged %d', number)
        expected += [f'printed {number} in parts', f'logged {number}', f'logged {number}']
        if number % 10 == 3:
            long = f'{number} ' * 40
            sys.stderr.write(long + '\n')
            expected += [long[i : i + 60].rstrip() for i in range(0, len(long), 60)]
        if number % 10 == 5:
            print('one line\n\nand another', file=sys.stdout)
            expected += ['one line', '', 'and another']
        seen = screen.lines()
        assert seen == [*expected, '', f'bar one {number}', f'bar two {number}']
    footer.close()
    print('after')
    assert screen.lines() == [*expected, 'after']


def test_fewer_lines_than_before(screen, footer):
    footer = footer()
    show(footer)
    show(footer, ['only one'])
    assert screen.lines() == ['', 'only one']
    show(footer, [])
    print('text')
    assert screen.lines() == ['text']


def test_an_unfinished_line_is_left_alone(screen, footer, monkeypatch):
    footer = footer()
    show(footer)
    print('a question? ', end='', flush=True)
    show(footer)
    assert screen.lines() == ['a question?']
    print('an answer')
    assert screen.lines() == ['a question? an answer', '', *BARS]
    print('\r[>>>  ] 3/5', end='', flush=True)
    monkeypatch.setattr(_terminal, 'PATIENCE', 0.0)
    time.sleep(0.01)
    show(footer)
    assert screen.lines() == ['a question? an answer', '[>>>  ] 3/5', '', *BARS]


def test_nothing_is_drawn_for_another_width(screen, footer):
    footer = footer()
    show(footer, ['=' * 59])
    size = footer.size()
    screen.resize(30, 12)
    print('text')
    assert screen.lines() == ['text']
    footer.show(['=' * 59], size)
    assert screen.lines() == ['text']
    show(footer, ['=' * 29])
    assert screen.lines() == ['text', '', '=' * 29]


def test_a_low_terminal_shows_the_last_lines(screen, footer):
    footer = footer()
    screen.resize(60, 3)
    show(footer)
    assert screen.lines() == ['', BARS[1]]
    screen.resize(60, 2)
    show(footer)
    assert screen.lines() == []


def test_a_terminal_without_a_size(screen, footer):
    footer = footer()
    screen.resize(0, 0)
    assert footer.size() == (80, 24)


def test_the_background_draws_nothing(screen, footer, monkeypatch):
    footer = footer()
    monkeypatch.setattr(os, 'tcgetpgrp', lambda fd: os.getpgrp() + 1)
    show(footer)
    print('text')
    assert screen.lines() == ['text']
    monkeypatch.setattr(os, 'tcgetpgrp', lambda fd: os.getpgrp())
    show(footer)
    assert screen.lines() == ['text', '', *BARS]


def test_a_terminal_that_goes_away(screen, footer):
    footer = footer()
    show(footer)
    screen.lines()
    screen.unplug()
    show(footer, ['other'])
    with pytest.raises(OSError):
        print('text', flush=True)
    show(footer, ['another'])
    footer.close()


def test_streams_are_as_before(screen, monkeypatch):
    screen.take_over(monkeypatch)
    one = sys.stdout
    before = []
    one.write = lambda text: before.append(text) or type(one).write(one, text)
    earlier, question = one.write, builtins.input
    footer = Footer(terminal())
    footer.open()
    show(footer)
    print('seen')
    footer.close()
    assert one.write is earlier and builtins.input is question
    assert vars(sys.stderr).get('write') is None
    # What someone else keeps is what was written, and nothing that was drawn.
    assert ''.join(before) == 'seen\n' and screen.lines() == ['seen']


def test_who_comes_later_may_stay(screen, footer):
    footer = footer()
    ours, kept = sys.stdout.write, []
    sys.stdout.write = lambda text: kept.append(text) or ours(text)
    later = sys.stdout.write
    show(footer)
    print('one')
    assert screen.lines() == ['one', '', *BARS]
    footer.close()
    print('two')
    assert sys.stdout.write is later
    assert screen.lines() == ['one', 'two'] and ''.join(kept) == 'one\ntwo\n'


def test_one_within_the_other(screen, footer):
    footer = footer()
    show(footer)
    inner = Footer(terminal())
    inner.open()
    show(inner, ['inner'])
    print('text')
    assert screen.lines() == ['text', '', 'inner']
    inner.close()
    print('more')
    assert screen.lines() == ['text', 'more', '', *BARS]


def test_beside_a_bar_of_somebody_else(screen, footer):
    footer = footer()
    show(footer)
    other = _terminal.Watch()
    other.open()
    print('text')
    assert screen.lines() == ['text']
    other.close()
    print('more')
    assert screen.lines() == ['text', 'more', '', *BARS]


def test_a_forked_process_writes_whole_lines(screen, footer):
    footer = footer()
    show(footer)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        child = os.fork()
    if not child:
        print('from a', end=' ')
        # The other process draws in the middle of a line.
        os.write(screen.slave, f'\r\x1b[K\r\n{BARS[0]}\x1b[1A\r'.encode())
        print('child')
        print('and more', file=sys.stderr)
        os._exit(0)
    os.waitpid(child, 0)
    assert screen.lines()[:2] == ['from a child', 'and more']
    show(footer, ['bar'])
    print('text')
    assert screen.lines() == ['from a child', 'and more', 'text', '', 'bar']


def test_what_is_no_terminal(screen, monkeypatch, tmp_path):
    screen.take_over(monkeypatch)
    assert terminal() is sys.stdout
    monkeypatch.setenv('TERM', 'dumb')
    assert terminal() is None
    monkeypatch.setenv('TERM', 'xterm')

    class Tee:
        """Writes to a file too, as scripts do it."""

        def __init__(self, stream):
            self.stream = stream

        def __getattr__(self, name):
            return getattr(self.stream, name)

    with open(tmp_path / 'file', 'w') as file:
        for other in (Tee(sys.stdout), file, None):
            monkeypatch.setattr(sys, 'stdout', other)
            assert terminal() is None


QUESTIONS = """
import signal, time, warnings
from nncore_compat._terminal import Footer, terminal

footer = Footer(terminal())
footer.open()
BAR = '-'.join('bar')
try:
    footer.show([BAR], footer.size())
    print('got', input('a question? '))
    footer.show([BAR], footer.size())
    breakpoint()
    footer.show([BAR], footer.size())
    # The debugger's, since it goes on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.warn('careful')
    print('sleeping')
    time.sleep(60)
finally:
    footer.close()
"""


def test_questions_a_debugger_and_control_c(tmp_path):
    """In a process of its own, as C writes the prompt of a real terminal."""
    screen = Screen(60, 30)
    script = tmp_path / 'script.py'
    script.write_text(textwrap.dedent(QUESTIONS))
    env = {**os.environ, 'PYTHONPATH': python_path(_root()), 'TERM': 'xterm'}
    process = subprocess.Popen(
        [sys.executable, script],
        stdin=screen.slave,
        stdout=screen.slave,
        stderr=screen.slave,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        screen.wait_for('a question?')
        assert screen.lines() == ['a question?']
        screen.type('yes\r')
        screen.wait_for('(Pdb)')
        seen = screen.lines()
        assert seen[:2] == ['a question? yes', 'got yes'] and 'b-a-r' not in ' '.join(seen)
        screen.type('p 6 * 7\r')
        screen.wait_for('42')
        screen.type('c\r')
        screen.wait_for('sleeping')
        assert screen.lines()[-3:] == ['sleeping', '', 'b-a-r']
        screen.type('\x03')
        assert process.wait(20) != 0
    finally:
        process.kill()
    seen = screen.lines()
    assert seen.index('sleeping') == 2 + next(
        number for number, line in enumerate(seen) if line.endswith('UserWarning: careful')
    )
    assert seen[-1] == 'KeyboardInterrupt' and 'b-a-r' not in seen
    assert seen[seen.index('sleeping') + 1] == 'Traceback (most recent call last):'


def _root():
    return os.path.dirname(os.path.dirname(_terminal.__file__))
