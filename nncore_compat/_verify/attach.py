"""What is recorded of both engines in the same way: how one is made, and launched."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from types import ModuleType
from typing import Any

from .folders import Folders, whole
from .hooks import HookWatch
from .lines import Stop
from .recorder import Recorder

# For whoever asks for any seed at all: eight digits, as nncore's have.
SEED = 20240229
# Which hooks and writers take a folder of their own, and as what.
_OUTPUTS = {'CheckpointHook': 'out', 'TensorboardWriter': 'log_dir'}


def engine(
    kind: Any, recorder: Recorder, folders: Folders, watch: HookWatch, made: Any = None
) -> None:
    """Have a class of engines recorded.

    Args:
        kind: nncore's Engine or ours.
        recorder: Where to.
        folders: Where the files go.
        watch: What has the hooks recorded.
        made: Called with each new engine.
    """
    create, launch, register = kind.__init__, kind.launch, kind.register_hook
    signature = inspect.signature(create)

    @functools.wraps(create)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        given = bound.arguments.get('work_dir')
        bound.arguments['work_dir'] = folders.instead_of(given)
        if made is not None:
            made(self)
        create(*bound.args, **bound.kwargs)
        watch.wrap(self.hooks.values())
        recorder.lines.note(device=_device(self.model), work_dir=whole(given or 'work_dirs'))
        recorder.record('made', self)

    @functools.wraps(launch)
    def launch_(self: Any, *args: Any, **kwargs: Any) -> Any:
        if recorder.stopped:
            recorder.lines.leave()
        given = self.work_dir
        if folders.instead_of(given) != given:
            # The script has put another one in its place.
            self.work_dir = folders.instead_of(given)
            recorder.lines.note(work_dir=whole(given))
        watch.wrap(self.hooks.values())
        recorder.lines.note(device=_device(self.model), launched=True)
        recorder.record('launch', self)
        # An earlier launch may have failed.
        recorder.unsettled = recorder.cut = False
        try:
            result = launch(self, *args, **kwargs)
        except Stop:
            raise
        except BaseException as error:
            recorder.record('raised', self, error=type(error).__name__)
            raise
        from .digests import text

        recorder.record('return', self, result=_words(result) or text(result))
        return result

    @functools.wraps(register)
    def register_hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = register(self, *args, **kwargs)
        watch.wrap(self.hooks.values())
        return result

    for name, argument in _OUTPUTS.items():
        _redirect(getattr(sys.modules[f'{_package(kind)}.hooks'], name), argument, folders)
    kind.__init__, kind.launch, kind.register_hook = __init__, launch_, register_hook


def _package(kind: Any) -> str:
    return str(kind.__module__).rpartition('.')[0]


def _redirect(kind: Any, argument: str, folders: Folders) -> None:
    """Lead objects of a class away from a folder that they are given."""
    create = kind.__init__
    signature = inspect.signature(create)

    @functools.wraps(create)
    def __init__(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        if bound.arguments.get(argument):
            bound.arguments[argument] = folders.instead_of(bound.arguments[argument])
        create(*bound.args, **bound.kwargs)

    kind.__init__ = __init__


def utilities(module: ModuleType, folders: Folders) -> None:
    """Have seeds that nobody gave the same on both sides, and checkpoints of the run found.

    Args:
        module: nncore.engine.utils or ours.
        folders: Where the run's files are.
    """
    import torch

    read, load, save = module.get_checkpoint, torch.load, torch.save

    @functools.wraps(read)
    def get_checkpoint(file_or_url: Any, *args: Any, **kwargs: Any) -> Any:
        return read(folders.find(file_or_url), *args, **kwargs)

    @functools.wraps(load)
    def torch_load(f: Any, *args: Any, **kwargs: Any) -> Any:
        return load(folders.find(f), *args, **kwargs)

    @functools.wraps(save)
    def torch_save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(f, (str, os.PathLike)):
            # It opens files where Python does not see it.
            sys.audit('open', f, 'w', os.O_WRONLY)
        save(obj, f, *args, **kwargs)

    torch.load, torch.save = torch_load, torch_save

    def generate_random_seed(*args: Any, **kwargs: Any) -> int:
        return SEED

    module.get_checkpoint = get_checkpoint  # type: ignore[attr-defined]
    module.generate_random_seed = generate_random_seed  # type: ignore[attr-defined]


def _device(model: Any) -> str:
    parameter = next(iter(model.parameters()), None)
    return 'cpu' if parameter is None else str(parameter.device)


def _words(value: Any) -> str | None:
    """Return numbers by name as they are, or None."""
    if value is None:
        return 'None'
    if isinstance(value, dict) and len(value) < 20:
        parts = {key: _words(item) for key, item in value.items()}
        if None not in parts.values():
            return '{' + ', '.join(f'{key}: {part}' for key, part in parts.items()) + '}'
    return repr(value) if isinstance(value, (bool, int, float)) else None
