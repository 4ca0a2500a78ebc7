"""The pages of the reference: the API, and the command line as its parsers describe it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import griffe

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'nncore_compat'

# The command line is asked as it is here, not as it may be installed.
sys.path.insert(0, str(ROOT))
from nncore_compat import __main__ as program  # noqa: E402
from nncore_compat import quirks  # noqa: E402

api: Any = griffe.load(PACKAGE, search_paths=[ROOT], resolve_aliases=True)
WRITERS = [name for name in api['hooks.writer'].exports if name.endswith('Writer')]
HOOKS = [name for name in api['hooks'].exports if name not in ('Hook', *WRITERS)]

AREAS = {
    'builder': ('Registries and builders', ['HOOKS', '_registry.Registry', 'builder']),
    'comm': ('Processes', ['comm']),
    'utils': ('Seeds and checkpoints', ['utils']),
}
# Where the names of an area are defined; the first that fits.
OVERVIEW = {
    'Writers': ('hooks._writers.',),
    'Hooks': ('hooks.',),
    'Registries and builders': ('builder.', '_registry.'),
    'Processes': ('comm.',),
    'Seeds and checkpoints': ('utils.',),
    'Engine': ('',),
}
COMMAND_LINE = ['cli/index.md', *({name: f'cli/{name}.md'} for name in program.COMMANDS)]
API = [
    'api/index.md',
    {'Engine': 'api/engine.md'},
    {'Buffer': 'api/buffer.md'},
    {'Hooks': ['api/hooks/index.md', *({name: f'api/hooks/{name}.md'} for name in HOOKS)]},
    {'Writers': 'api/writers.md'},
    *({title: f'api/{page}.md'} for page, (title, _) in AREAS.items()),
    {'With Lightning': 'api/as_callback.md'},
    {'install': 'api/install.md'},
    {'Quirks': 'api/quirks.md'},
]

BEGIN = 'what-the-examples-begin-with'
EXAMPLES = f"""\
## What the examples begin with

The examples of this reference run as they stand, after these lines:

```python
{(ROOT / 'docs' / 'prelude.py').read_text(encoding='utf-8').rstrip()}
```
"""


def pages() -> dict[str, str]:
    """Return the pages by their paths, in Markdown."""
    made = {
        'api/index.md': f'# API\n\n{overview()}\n\n{EXAMPLES}',
        'api/engine.md': shown('Engine'),
        'api/buffer.md': shown('Buffer'),
        'api/hooks/index.md': shown('Hook'),
        'api/writers.md': '# Writers\n\n'
        + listed(f'hooks.writer.{name}' for name in sorted(WRITERS, key=len)),
        'api/as_callback.md': shown('as_callback'),
        'api/install.md': shown('install'),
        'api/quirks.md': quirk_page(),
        'cli/index.md': command_page([], '# Command line'),
    }
    for page, (title, modules) in AREAS.items():
        names = [one for name in modules for one in members_of(name)]
        made[f'api/{page}.md'] = f'# {title}\n\n' + listed(names)
    for name in HOOKS:
        made[f'api/hooks/{name}.md'] = shown(f'hooks.{name}')
    for name in program.COMMANDS:
        made[f'cli/{name}.md'] = command_page([name], f'# {name}')
    return made


def shown(name: str, level: int = 1) -> str:
    """Return the directive that shows a name of the package."""
    directive = f'::: {PACKAGE}.{name}\n    options:\n      heading_level: {level}\n'
    # What hooks read of an engine stands in a class of its own.
    return directive + '      inherited_members: true\n' if name == 'Engine' else directive


def listed(names: Iterable[str]) -> str:
    return '\n\n'.join(shown(name, 2) for name in names)


def members_of(name: str) -> Iterator[str]:
    """Find the functions of a module; anything else is its own."""
    if not api[name].is_module:
        yield name
        return
    exported = api[name].exports
    for key, member in api[name].members.items():
        public = key in exported if exported else not key.startswith('_') and not member.is_alias
        if public and member.is_function:
            yield f'{name}.{key}'


def overview() -> str:
    """Return tables of all names of the package, area by area."""
    tables: dict[str, list[str]] = {area: [] for area in OVERVIEW}
    for name in api.exports:
        if name.startswith('_'):
            continue
        path = api[name].canonical_path.removeprefix(f'{PACKAGE}.')
        area = next(area for area, starts in OVERVIEW.items() if path.startswith(starts))
        summary = api[name].docstring.value.partition('\n')[0]
        link = f'({name}.md)' if api[name].is_module else f'[{PACKAGE}.{name}]'
        tables[area].append(f'| [`{name}`]{link} | {summary} |')
    order = ['Engine', 'Hooks', *(area for area in tables if area not in ('Engine', 'Hooks'))]
    parts = [
        '\n'.join([f'## {area}', '', '| name | |', '|---|---|', *tables[area]]) for area in order
    ]
    return '\n\n'.join(parts)


def quirk_page() -> str:
    """Return a section for each quirk, and the functions."""
    about = api['quirks'].docstring.value
    parts = [f'# Quirks\n\n{about}', '## What each brings back']
    for name, text in quirks.QUIRKS.items():
        parts.append(f'### `{name}`\n\n{text[0].upper()}{plain(text[1:])}.')
    parts += ['## In a script', listed(members_of('quirks'))]
    return '\n\n'.join(parts)


def command_page(argv: list[str], title: str) -> str:
    """Return what a parser of the command line knows."""
    parser = parser_of(argv)
    parts = [title, fenced(parser.format_usage().removeprefix('usage: '))]
    for line in (parser.description or '').splitlines():
        name, _, rest = line.strip().partition(' ')
        if line[:1] != ' ':
            parts.append(plain(line))
        elif name in program.COMMANDS:
            parts.append(f'- [`{name}`]({name}.md) {plain(rest)}')
        else:
            parts.append(f'- {plain(line.strip())}')
    for group in parser._action_groups:
        rows = [row(action, parser) for action in group._group_actions]
        if rows:
            kind = 'option' if group._group_actions[0].option_strings else 'argument'
            parts += [f'## {(group.title or "").capitalize()}', plain(group.description or '')]
            parts.append('\n'.join([f'| {kind} | |', '|---|---|', *rows]))
    if parser.epilog:
        parts.append(fenced(parser.epilog))
    return '\n\n'.join(parts)


def parser_of(argv: list[str]) -> argparse.ArgumentParser:
    """Return the parser that would read a command line, whoever makes it."""

    class Found(Exception):
        pass

    def stop(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> NoReturn:
        raise Found(parser)

    with patch.object(argparse.ArgumentParser, 'parse_known_args', stop):
        try:
            program.main([*argv, '--help'])
        except Found as found:
            return found.args[0]
    raise RuntimeError(f'no parser for {argv}')


def row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    value = action.metavar or (action.choices and '|'.join(map(str, action.choices))) or ''
    if not action.option_strings:
        names = [f'{action.metavar or action.dest}']
    elif action.nargs == 0:
        names = action.option_strings
    else:
        names = [f'{name} {value or action.dest.upper()}' for name in action.option_strings]
    text = (action.help or '') % {**vars(action), 'prog': parser.prog}
    cell = ', '.join(f'`{name}`' for name in names)
    return f'| {cell} | {plain(text)} |'


def fenced(text: str) -> str:
    return f'```text\n{text.rstrip()}\n```'


def plain(text: str) -> str:
    """Return a text that means itself in Markdown."""
    return re.sub(r'([\\|*_<>`\[\]])', r'\\\1', text)
