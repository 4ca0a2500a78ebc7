"""Lines with bars, on terminals of any width."""

import io
import random
import sys

import pyte
import pytest

from nncore_compat._bar_styles import STYLES, Line
from progress.screen import Screen

DETAILS = ['eta 1:23:45', 'loss 0.1234', '12.3 ms/it', 'lr 0.01', 'stage 1/2']
TRAINING = Line('Epoch 12/200', 450, 1800, DETAILS)
TASK = Line('Validating', 7, 12, ['0:00:03 left'])


def drawn(style, lines, width):
    """What an emulator shows of lines that are drawn one below the other."""
    screen = pyte.Screen(250, len(lines))
    stream = pyte.Stream(screen)
    stream.feed('\r\n'.join(style(lines, width)))
    return [line.rstrip() for line in screen.display]


@pytest.fixture(params=STYLES)
def style(request, monkeypatch):
    screen = Screen()
    screen.take_over(monkeypatch)
    return STYLES[request.param](screen.file())


def test_details_go_before_the_bar_does(style):
    before = 0
    for width in range(1, 200):
        text = drawn(style, [TRAINING], width)[0]
        assert len(text) <= width
        shown = [detail for detail in DETAILS if detail in text]
        assert shown == DETAILS[: len(shown)] and len(shown) >= before
        bar = sum(text.count(mark) for mark in '━╸╺█')
        assert bar >= 2 or not shown
        before = len(shown)
    assert before == len(DETAILS)
    assert drawn(style, [TRAINING], 25) == ['Epoch 12/200 450/1800']
    assert drawn(style, [TRAINING], 5) == ['Epoch']


def test_numbers_and_bars_stand_below_each_other(style):
    for width in (60, 79, 120, 200):
        first, second = drawn(style, [TRAINING, TASK], width)
        assert first.index('450/1800') + len('450/1800') == second.index('7/12') + len('7/12')


def test_nobody_knows_how_much_there_is(style):
    (text,) = drawn(style, [Line('Testing', 7, None, ['12.3 ms/it'])], 100)
    assert text.startswith('Testing') and '7/?' in text and '12.3 ms/it' in text
    assert '%' not in text


def test_more_than_there_should_be(style):
    (text,) = drawn(style, [Line('Testing', 9, 8, [])], 100)
    assert '9/8' in text and text.count('━') + text.count('█') == 40
    assert '0/0' in drawn(style, [Line('Testing', 0, 0, [])], 100)[0]


@pytest.mark.parametrize('name', STYLES)
def test_a_terminal_without_such_letters(name):
    stream = io.TextIOWrapper(io.BytesIO(), 'ascii')
    ''.join(STYLES[name](stream)([TRAINING, TASK], 100)).encode('ascii')


def test_colours_may_be_switched_off(monkeypatch):
    Screen().take_over(monkeypatch)
    assert '\033[' in ''.join(STYLES['rich'](sys.stdout)([TRAINING], 100))
    monkeypatch.setenv('NO_COLOR', '1')
    assert '\033[' not in ''.join(STYLES['rich'](sys.stdout)([TRAINING], 100))


def test_imports_draw_no_random_numbers(monkeypatch):
    Screen().take_over(monkeypatch)
    for name in [name for name in sys.modules if name.partition('.')[0] == 'rich']:
        monkeypatch.delitem(sys.modules, name)
    state = random.getstate()
    STYLES['rich'](sys.stdout)([TRAINING], 100)
    assert random.getstate() == state
