"""The docstrings of what is public: they say all that there is to say, and their examples run."""

from __future__ import annotations

import doctest
import inspect
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import nncore_compat
from nncore_compat import _alias, builder, hooks, utils
from nncore_compat.hooks import writer
from nncore_compat.hooks.base import HOOK_NAMES

# What the reference says that its examples begin with.
PRELUDE = Path(__file__).resolve().parent.parent / 'docs' / 'prelude.py'
PACKAGE = 'nncore_compat.'
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public() -> Iterator[tuple[str, object, type | None]]:
    """Find every public name: where it is defined, what it is, and whose member it is."""
    found = [getattr(nncore_compat, name) for name in nncore_compat.__all__ if name[0] != '_']
    for module in (builder, hooks, writer, utils):
        found += [getattr(module, name) for name in module.__all__]
    functions = inspect.getmembers(nncore_compat.quirks, inspect.isfunction)
    found += [function for name, function in functions if name[0] != '_']
    for one in found:
        # A registry is what its class is.
        thing = one if inspect.isclass(one) or inspect.isfunction(one) else type(one)
        if place(thing).startswith(PACKAGE):
            yield place(thing), thing, None
            for member in members(thing) if inspect.isclass(thing) else ():
                yield place(member), member, thing


def members(cls: type) -> Iterator[object]:
    """Find the methods and properties of a class, also of bases that are not public themselves."""
    for name in dir(cls):
        thing = inspect.getattr_static(cls, name)
        if name[0] != '_' and place(thing).startswith(PACKAGE):
            yield thing


def place(thing: object) -> str:
    thing = thing.fget if isinstance(thing, property) else thing
    return f'{getattr(thing, "__module__", "")}.{getattr(thing, "__qualname__", "")}'


PUBLIC = {place: (thing, owner) for place, thing, owner in public()}


def repeats(name: str, owner: type | None) -> bool:
    """Whether a base tells what this is, so that a summary is enough."""
    if name in ('state_dict', 'load_state_dict'):
        return True  # Hook tells
    told = [base for base in owner.__mro__ if name in vars(base)] if owner else []
    return len(told) > 1 and told[-1].__module__.startswith(PACKAGE)


def text_of(thing: object) -> str:
    return inspect.cleandoc(getattr(thing, '__doc__', None) or '')


def section(text: str, title: str) -> str:
    found = re.search(rf'^{title}:\n((?:[ ].*\n?|\n)+)', text, re.M)
    return inspect.cleandoc(found.group(1)) if found else ''


def missing(place: str, thing: object, owner: type | None) -> Iterator[str]:
    """Tell what a docstring leaves out."""
    text, name = text_of(thing), place.rpartition('.')[2]
    if not re.match(r'[A-Z`\'].*[.:]$', text.partition('\n')[0]):
        yield 'a summary: one line, a sentence'
    if repeats(name, owner):
        return
    if '>>> ' not in text:
        yield 'an example'
    if isinstance(thing, property):
        return
    signature = inspect.signature(thing)
    told = re.findall(r'^(\*{0,2}\w+):', section(text, 'Args'), re.M)
    for index, parameter in enumerate(signature.parameters.values()):
        stars = {parameter.VAR_POSITIONAL: '*', parameter.VAR_KEYWORD: '**'}.get(parameter.kind, '')
        if (index == 0 and owner is not None) or name in HOOK_NAMES:
            continue  # self, and the engine that every event gets
        if stars + parameter.name not in told:
            yield f'Args: {stars}{parameter.name}'
    for argument in set(told) - {f'{s}{p}' for p in signature.parameters for s in ('', '*', '**')}:
        yield f'Args has {argument}, which there is not'
    returned = signature.return_annotation
    if inspect.isclass(thing) or returned in (None, 'None', inspect.Signature.empty):
        return
    if not section(text, 'Returns'):
        yield f'Returns: {returned}'


def test_all_are_complete():
    assert {name: gaps for name in PUBLIC if (gaps := list(missing(name, *PUBLIC[name])))} == {}


def test_what_is_left_out_is_noticed():
    def vague(first, *rest, **more) -> int:
        """do it

        Args:
            second: Something.
        """

    assert list(missing('vague', vague, None)) == [
        'a summary: one line, a sentence',
        'an example',
        'Args: first',
        'Args: *rest',
        'Args: **more',
        'Args has second, which there is not',
        'Returns: int',
    ]
    known = 'engine.Engine.launch', '_state.State.epoch', 'quirks.enable', 'hooks.base.Hook.name'
    assert {PACKAGE + name for name in known} <= set(PUBLIC)


@pytest.fixture(scope='module')
def prelude():
    return compile(PRELUDE.read_text(encoding='utf-8'), PRELUDE.name, 'exec')


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Let an example change what it likes, and keep the log out of its output."""
    monkeypatch.chdir(tmp_path)
    for name in (_alias.ENV, nncore_compat.quirks.ENV, 'PYTHONPATH'):
        monkeypatch.setenv(name, os.environ.get(name, ''))
    monkeypatch.setattr(nncore_compat.quirks, '_active', None)
    quiet = logging.getLogger('quiet')
    quiet.propagate = False
    monkeypatch.setattr(nncore_compat.engine, 'get_logger', lambda *args, **kwargs: quiet)
    monkeypatch.setattr('nncore_compat._progress.ProgressBar._show', lambda *args: None)
    # As where nncore is not installed.
    monkeypatch.setattr(sys, 'meta_path', [_alias._AbsentFinder(), *sys.meta_path])
    kept = forget_nncore()
    yield
    forget_nncore()
    sys.modules.update(kept)


def forget_nncore() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition('.')[0] == 'nncore']
    return {name: sys.modules.pop(name) for name in names}


@pytest.mark.parametrize(
    'place', [place for place in PUBLIC if '>>> ' in text_of(PUBLIC[place][0])]
)
def test_example(place, prelude, alone):
    names = {'__name__': 'example'}
    exec(prelude, names)
    parser = doctest.DocTestParser()
    example = parser.get_doctest(text_of(PUBLIC[place][0]), names, place, place, 0)
    report = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    runner.run(example, out=report.append)
    assert not report, ''.join(report)
