"""The process in which a script is recorded: `main(file)` runs what the file asks for."""

from __future__ import annotations

import functools
import json
import os
import random
import sys
from types import ModuleType
from typing import Any

from .. import __main__ as runner
from .. import _alias, _runner, quirks
from . import files, imports
from .lines import Lines, Stop

# What random numbers begin with that the script does not seed.
SEED = 0


def main(file: str) -> None:
    """Run a script, recorded, as Python or as `python -m nncore_compat` would.

    Args:
        file: A `children.Job` in JSON.

    Raises:
        SystemExit: As the script ends.
    """
    with open(file, encoding='utf-8') as stream:
        spec = json.load(stream)
    lines = Lines(spec['trace'])
    random.seed(SEED)
    sys.meta_path.insert(0, imports.Watch(_around(spec, lines)))
    files.watch(spec['files'], [os.path.dirname(file)])
    try:
        if spec['side'] == 'ours':
            _note_quirks(lines)
            runner.main(spec['target'])
        else:
            _run_on_nncore(spec['target'])
    except Stop:
        return
    except SystemExit as error:
        code = 0 if error.code is None else error.code
        lines.note(end='exit', code=code if isinstance(code, int) else 1)
        raise
    except BaseException as error:
        lines.note(end='error', error=type(error).__name__)
        raise
    lines.note(end='exit', code=0)


def _run_on_nncore(target: list[str]) -> None:
    imports.stand_in_for_torchvision()
    os.environ[imports.ENV] = '1'
    _alias.export_site()
    # A script that puts us in nncore's place itself gets nncore.
    import nncore_compat

    nncore_compat.install = _alias.install = _do_nothing
    if target[0] == '-m':
        _runner.run_module(target[1], target[2:])
    else:
        _runner.run_script(target[0], target[1:])


def _around(spec: dict[str, Any], lines: Lines) -> dict[str, imports.Around]:
    @functools.cache
    def parts() -> Any:
        # They need torch and numpy, which the script has imported by now, as it wanted them.
        from . import attach, ours, real
        from .folders import Folders
        from .recorder import Recorder

        return (
            Recorder(spec, lines),
            Folders(spec['folder']),
            {'ours': ours, 'nncore': real},
            attach,
        )

    def watch_utils(module: ModuleType) -> None:
        _, folders, _, attach = parts()
        attach.utilities(module, folders)

    def watch_engine(module: ModuleType) -> None:
        recorder, folders, sides, _ = parts()
        sides[spec['side']].watch(module, recorder, folders)

    def watch_loop(module: ModuleType) -> None:
        recorder, _, sides, _ = parts()
        sides['ours'].watch_loop(module, recorder)

    def seed(module: Any) -> None:
        (module.manual_seed if module.__name__ == 'torch' else module.seed)(SEED)

    package = 'nncore_compat' if spec['side'] == 'ours' else 'nncore.engine'
    actions = {
        'numpy.random': seed,
        'torch': seed,
        f'{package}.utils': watch_utils,
        f'{package}.engine': watch_engine,
        'nncore_compat._lightning.module': watch_loop,
    }
    return {name: imports.after(action) for name, action in actions.items()}


def _note_quirks(lines: Lines) -> None:
    met = quirks.met

    @functools.wraps(met)
    def noted(name: str, *args: Any, **kwargs: Any) -> None:
        if not quirks.active(name):
            lines.note(met=name)
        met(name, *args, **kwargs)

    quirks.met = noted


def _do_nothing() -> None:
    pass
