"""The names in the installed nncore.engine, read from its source without importing it."""

import ast
from importlib import metadata
from pathlib import Path


def sources() -> dict[str, ast.Module]:
    """Return the syntax trees of nncore.engine's modules by name; empty if not installed."""
    try:
        root = Path(str(metadata.distribution('nncore').locate_file('nncore')))
    except metadata.PackageNotFoundError:
        return {}
    found = {}
    for path in sorted((root / 'engine').rglob('*.py')):
        parts = path.relative_to(root.parent).with_suffix('').parts
        name = '.'.join(part for part in parts if part != '__init__')
        found[name] = ast.parse(path.read_text())
    return found


def _public(name: str) -> bool:
    return not name.startswith('_')


def exported(tree: ast.Module) -> set[str]:
    """Return the public names that a module defines or lists in ``__all__``."""
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if target.id == '__all__':
                    names |= set(ast.literal_eval(node.value))
                elif target.id.isupper():
                    names.add(target.id)
    return set(filter(_public, names))


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    """Return the public classes of a module."""
    return [n for n in tree.body if isinstance(n, ast.ClassDef) and _public(n.name)]


def functions(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef]:
    """Return the public functions of a module, or methods of a class and its constructor."""
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    return [n for n in found if _public(n.name) or n.name == '__init__']


def members(cls: ast.ClassDef) -> set[str]:
    """Return the public methods of a class and what nncore's decorators add to it."""
    names = {function.name for function in functions(cls)}
    for decorator in cls.decorator_list:
        kind = ast.unparse(decorator.func)
        if kind == 'nncore.bind_getter':
            names |= {ast.literal_eval(argument) for argument in decorator.args}
        elif kind == 'nncore.bind_method':
            names |= set(ast.literal_eval(decorator.args[1]))
    return names
