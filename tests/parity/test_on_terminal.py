"""On a terminal, with a live bar, a script leaves behind what it does under nncore 0.4.7."""

from pathlib import Path

import pytest
from progress.screen import Screen

from parity.compare import compare_runs
from parity.masks import BAR

# Has the child write to a terminal in place of a file.
PRELUDE = """
import os, sys
os.dup2(os.open({name!r}, os.O_WRONLY | os.O_NOCTTY), 1)
sys.stdout.reconfigure(line_buffering=True)
"""


@pytest.mark.parametrize(
    'name, style',
    [('evaluation_hook.py', 'rich'), ('loggers.py', 'tqdm'), ('precise_bn.py', 'rich')],
)
def test_script(name, style, sides, tmp_path):
    """Files, weights and random numbers; and each line, but for nncore's bars."""
    screen = Screen(columns=1000)
    env = {'TERM': 'xterm', 'CI': '', 'NNCORE_COMPAT_PROGRESS': style}
    outs = tmp_path / 'reference', tmp_path / 'ours'
    sides[0].start(name, outs[0])
    sides[1].start(name, outs[1], env=env, prelude=PRELUDE.format(name=screen.name))
    assert [side.wait() for side in sides] == [0, 0], Path(f'{outs[1]}.stderr').read_text()
    theirs = Path(f'{outs[0]}.stdout')
    text = theirs.read_bytes().decode()
    assert BAR.search(text)
    theirs.write_text('\n'.join(_lines(text)))
    Path(f'{outs[1]}.stdout').write_text('\n'.join(screen.lines()))
    differences = compare_runs(*outs)
    assert not differences, '\n'.join(differences)


def _lines(text):
    """The lines of a text without bars, and without spaces at the end, as a screen has them."""
    return [line.rstrip() for line in BAR.sub('', text).splitlines() if line.rstrip()]
