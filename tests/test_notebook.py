"""The extension of IPython, in IPython's own shell."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from paths import ROOT, TESTS, python_path

pytest.importorskip('IPython')

# Runs cells one after another, and writes what each has put out.
RUN = """
import json, os, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

shell = InteractiveShell.instance()
cells, outputs = json.load(open(sys.argv[1])), []
sys.argv = ['kernel']
for cell in cells:
    with capture_output() as captured:
        result = shell.run_cell(cell)
    error = result.error_before_exec or result.error_in_exec
    outputs.append([captured.stdout + captured.stderr, repr(error) if error else None])
json.dump(outputs, open('outputs', 'w'))
"""

SCRIPT = """
import sys
from nncore.engine import Engine
from torch.utils.data import DataLoader
from tiny import Net, Points

if __name__ == '__main__':
    given = sys.argv[1:]
    engine = Engine(Net(), DataLoader(Points(), 4), stages=STAGE, work_dir='script')
    engine.launch()
    print('trained', engine.iter, given)
""".replace('STAGE', repr({'epochs': 1, 'optimizer': {'type': 'SGD', 'lr': 0.1}}))

START = """
import os, sys
before = dict(os.environ)
"""
ENGINE = """
from torch.utils.data import DataLoader
from tiny import Net, Points, stage
def make(**kwargs):
    loaders = dict(train=DataLoader(Points(), 4), val=DataLoader(Points(6), 4))
    kwargs = dict(work_dir='run', stages=stage(validation=dict(interval=1)), **kwargs)
    return Engine(Net(), loaders, **kwargs)
"""
SETTINGS = "print(sorted(k for k in os.environ if k.startswith('NNCORE_COMPAT')))"
# As nncore, which has it imported, and hidden from everybody else.
REAL = f"""
sys.path.insert(0, {str(TESTS / 'reference')!r})
import nncore.engine
from nncore.engine import Hook, comm
real = nncore.engine
sys.path.pop(0)
for name in [name for name in sys.modules if name.startswith('torchvision')]:
    del sys.modules[name]
"""


def run(folder, *cells):
    (folder / 'cells').write_text(json.dumps(cells))
    (folder / 'script.py').write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if not k.startswith('NNCORE_COMPAT')}
    env.update(
        PYTHONPATH=python_path(ROOT, TESTS),
        IPYTHONDIR=str(folder / 'ipython'),
        OMP_NUM_THREADS='1',
        MPLBACKEND='agg',
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', RUN, 'cells'],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / 'outputs').read_text())


def test_a_notebook(tmp_path):
    outputs = run(
        tmp_path,
        START + "sys.ps1 = 'In : '",
        '%load_ext nncore_compat',
        ENGINE + 'from nncore.engine import Engine\nprint(Engine.__module__)',
        'one = make()\none.launch()\none.reset_states()\none.launch()\nprint("again", one.iter)',
        '%nncore_compat --quirks all --devices 1\n' + SETTINGS,
        '%nncore_compat\n' + SETTINGS,
        '%nncore_compat --dry-run',
        'print("returned", make().launch())',
        "make(hooks=['Nothing'], amp='fp8').launch()",
        '%nncore_compat --quirks eval-interval',
        '%nncore_compat --dry-run script.py "a b" *',
        'import nncore_compat\nprint(nncore_compat.quirks.active("eval-interval"))\n' + SETTINGS,
        '%nncore_compat script.py "a b" *',
        '%nncore_compat --devices 2 --accelerator cpu\nmake()',
        '%nncore_compat --nothing',
        '%nncore_compat --quirks nothing script.py',
        '%nncore_compat --version',
        '%nncore_compat convert missing.pth out.pth --to nncore\n'
        '%nncore_compat --verify 3 script.py',
        '%nncore_compat -m missing_module',
        '%nncore_compat\nfigure = make().plan().plot()\nprint(figure._repr_png_()[:4])',
        '%unload_ext nncore_compat',
        "ours = [k for k in {**before, **os.environ} if 'NNCORE' in k or k == 'PYTHONPATH']\n"
        'print([k for k in ours if before.get(k) != os.environ.get(k)])\n'
        "print([f for f in sys.meta_path if type(f).__module__.startswith('nncore_compat')])\n"
        "print([name for name in sys.modules if name.startswith('nncore.engine')])",
        '%nncore_compat',
    )
    texts, errors = zip(*outputs, strict=True)
    fine = [error for index, error in enumerate(errors) if index not in (8, 13, 14, 15, 17, 18, 22)]
    assert not any(fine), fine
    assert texts[1] == '' and texts[2] == 'nncore_compat.engine\n'
    assert 'again 3\n' in texts[3] and texts[3].count('Epoch (val) [1]') == 2
    names = [f'NNCORE_COMPAT_{name}' for name in ('ALIAS', 'QUIRKS', 'TRAINER')]
    assert (texts[4], texts[5]) == (f'{names}\n', f'{names[:2]}\n')
    assert 'Stage 1: epoch 1, 3 iterations' in texts[7] and texts[7].endswith('returned None\n')
    assert "unknown hook 'Nothing'" in texts[8] and "'fp8'" in texts[8] and '2 errors' in texts[8]
    assert 'training would fail' in errors[8]
    # Not trained, though the script would have gone on at a prompt.
    assert 'This was a dry run' in texts[10] and 'trained 3' not in texts[10]
    assert 'there is nothing to show' not in texts[10]
    # What was said before it holds again.
    assert texts[11] == f'True\n{names[:2]}\n'
    assert "trained 3 ['a b', '*']\n" in texts[12]
    assert 'ddp_notebook' in errors[13] and 'Misconfiguration' in errors[13]
    for index, words in (
        (14, '--nothing'),
        (17, 'in two processes of its own'),
        (15, "'nothing'"),
        (18, 'missing_module'),
    ):
        assert words in texts[index] + str(errors[index])
    assert texts[16].startswith('nncore-compat 0.') and 'missing.pth' in texts[17]
    assert texts[19].endswith("b'\\x89PNG'\n")
    assert texts[21] == '[]\n[]\n[]\n'
    assert 'nncore_compat' in texts[22] + str(errors[22])


@pytest.mark.skipif(find_spec('nncore') is None, reason='nncore is not installed')
def test_a_notebook_that_has_imported_nncore_before(tmp_path):
    outputs = run(
        tmp_path,
        START + REAL,
        '%load_ext nncore_compat',
        'from nncore.engine import Engine\nprint(Hook is Engine, nncore.engine.__name__)',
        '%reload_ext nncore_compat',
        '%unload_ext nncore_compat',
        'import nncore.engine\nfrom nncore.engine import Hook as late, hooks\n'
        'print(nncore.engine is real, late is Hook, hooks.__name__)',
    )
    texts, errors = zip(*outputs, strict=True)
    assert not any(errors), errors
    assert 'nncore.engine was imported before' in texts[1]
    assert 'still those of nncore: Hook, comm, real.' in texts[1]
    assert texts[2] == 'False nncore_compat\n'
    assert texts[5] == 'True True nncore.engine.hooks\n'
