"""The documented signatures in spec.txt.

A line is a class, a function, or a method of the class above it.
"""

import ast
import inspect
from pathlib import Path
from typing import NamedTuple

SPEC = Path(__file__).with_name('spec.txt')


class Entry(NamedTuple):
    """A documented class, function or method."""

    module: str
    path: str
    signature: inspect.Signature

    def __str__(self) -> str:
        return f'{self.module}.{self.path}'.removeprefix('nncore.engine.')


def parse(parameters: str) -> inspect.Signature:
    """Return the signature that a parameter list stands for."""
    arguments = ast.parse(f'def f({parameters}): pass').body[0].args
    kinds = inspect.Parameter
    first = len(arguments.args) - len(arguments.defaults)
    found = [
        kinds(
            argument.arg,
            kinds.POSITIONAL_OR_KEYWORD,
            default=kinds.empty
            if index < first
            else ast.literal_eval(arguments.defaults[index - first]),
        )
        for index, argument in enumerate(arguments.args)
    ]
    if arguments.kwarg:
        found.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(found)


def entries() -> list[Entry]:
    """Return everything that spec.txt documents."""
    found, owner = [], ('', '')
    for line in SPEC.read_text().splitlines():
        name, _, parameters = line.removeprefix('class ').rstrip(')').partition('(')
        if name.startswith('nncore.'):
            module, _, path = name.rpartition('.')
            if line.startswith('class '):
                owner = (module, path)
        else:
            module, path = owner[0], f'{owner[1]}.{name}'
        found.append(Entry(module, path, parse(parameters)))
    return found
