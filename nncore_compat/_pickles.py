"""A reading of a pickle that builds nothing: what it would do, and of what size.

torch's own reader for weights_only decides which functions may be called. This one looks at what
they would be called with: in several versions of torch, sizes that are not those of the file, or
keys that take for ever to hash, went through to code that crashes or hangs.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

# Keys of checkpoints are texts and numbers, far below this.
_HEAVY = 1000
# Of one number, in bytes; torch warns when its classes are asked.
_NUMBERS = {
    1: 'Untyped Byte Char Bool QUInt8 QInt8 QUInt4x2 QUInt2x4',
    2: 'Short Half BFloat16',
    4: 'Int Float QInt32',
    8: 'Long Double ComplexFloat',
    16: 'ComplexDouble',
}
_SIZES = {f'{name}Storage': size for size, names in _NUMBERS.items() for name in names.split()}


class Refused(Exception):
    """A file that is no checkpoint, or not the one that was written; says why."""


class Scan(NamedTuple):
    """What a pickle holds: its value, as far as it is plain, and the sizes of its storages."""

    value: Any
    storages: dict[str, tuple[int, int]]


class _Global(str):
    """The name of a function or class."""


class _Storage(NamedTuple):
    length: int


class _Object:
    """Something that is built, with the number of things in it."""

    weight = 1

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _List(list[Any]):
    weight = 1


class _Tuple(tuple[Any, ...]):
    weight: int


def scan(file: Any) -> Scan:
    """Read one pickle.

    Args:
        file: The file, at its start.

    Raises:
        Refused: It is damaged, or does what no checkpoint does.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            step = _STEPS.get(opcode.name)
            if step is None:
                raise Refused(f'its structure is damaged: {opcode.name} is not used in checkpoints')
            step(machine, argument)
        return Scan(machine.stack[-1], machine.storages)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise Refused(f'its structure is damaged: {error}') from error


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[int, int]] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def last(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count:
            raise IndexError('the stack is empty')
        del self.stack[-count:]
        return items

    def keep(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def call(self, arguments: Any) -> None:
        function, given = self.last(2)
        _check_call(function, given)
        self.push(_Object('dict' if function.endswith(('Dict', 'Counter')) else function))

    def build(self, _: Any) -> None:
        (state,) = self.last(1)
        if isinstance(state, tuple) and state and isinstance(state[0], _Storage):
            _check_view(*state[:4])
        if not isinstance(self.stack[-1], _Object):
            raise TypeError('a state for what has none')

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, _List):
            raise TypeError('an item for what is no list')
        target.extend(items)
        target.weight += sum(map(_weight, items))

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, _Object) or target.kind != 'dict':
            raise TypeError('a key for what is no dict')
        if len(items) % 2:
            raise ValueError('a key without a value')
        for key in items[::2]:
            _check_key(key)
        target.weight += sum(map(_weight, items))

    def load(self, _: Any) -> None:
        (name,) = self.last(1)
        what, kind, key, location, count = name[:5]
        view = name[5] if len(name) > 5 else None
        if not isinstance(name, tuple) or what != 'storage' or not isinstance(kind, _Global):
            raise TypeError(f'a tensor with the name {_shown(name)}')
        if not isinstance(key, str) or not isinstance(location, str) or type(count) is not int:
            raise TypeError(f'a tensor with the name {_shown(name)}')
        if count < 0 or (view is not None and not all(type(n) is int and n >= 0 for n in view[1:])):
            raise ValueError(f'a tensor of the size {count}')
        self.storages[key] = max((count, count * _item(kind)), self.storages.get(key, (0, 0)))
        self.push(_Storage(count))


def _weight(value: Any) -> int:
    return getattr(value, 'weight', 1)


def _shown(value: Any) -> str:
    # As a hash, it would follow every path.
    return repr(value)[:100] if _weight(value) < _HEAVY else 'of absurd depth'


def _tuple(items: list[Any]) -> _Tuple:
    made = _Tuple(items)
    made.weight = 1 + sum(map(_weight, items))
    return made


def _item(kind: str) -> int:
    size = _SIZES.get(kind.rpartition('.')[2])
    if size is None:
        raise TypeError(f'a tensor of the type {kind}')
    return size


def _check_key(key: Any) -> None:
    # Its hash follows every path through it.
    if _weight(key) > _HEAVY:
        raise ValueError('a key of absurd depth')


def _check_call(function: Any, given: Any) -> None:
    if not isinstance(function, _Global) or not isinstance(given, tuple):
        raise TypeError('a call of what is no function')
    name = function.rpartition('.')[2]
    if name == 'encode' and given[1:] not in ((), ('latin1',)):
        raise ValueError(f'text in the encoding {_shown(given[1])}')
    if name == 'bytearray' or name.endswith('Tensor'):
        if any(type(value) is int for value in given):
            raise ValueError(f'{function} with nothing in it')
    elif name in ('set', 'Counter', 'OrderedDict'):
        for items in given:
            for item in items if isinstance(items, list) else [items]:
                _check_key(item)
    elif name == '_rebuild_from_type_v2':
        _check_call(given[0], given[2])
    elif name in ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_qtensor'):
        _check_view(*given[:4])


def _check_view(storage: Any, offset: Any, size: Any, stride: Any) -> None:
    numbers = [offset, *size, *stride]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f'a tensor of the shape {_shown(size)}')
    steps = [(length - 1) * step for length, step in zip(size, stride, strict=True)]
    if 0 not in size and offset + sum(steps) >= storage.length:
        raise ValueError(f'a tensor of the shape {_shown(size)}, larger than what is stored')


_Step = Callable[[_Machine, Any], None]
_STEPS: dict[str, _Step] = {
    'PROTO': lambda machine, value: None,
    'STOP': lambda machine, value: None,
    'MARK': _Machine.mark,
    'GLOBAL': lambda machine, value: machine.push(_Global(value.replace(' ', '.'))),
    'REDUCE': _Machine.call,
    'NEWOBJ': _Machine.call,
    'BUILD': _Machine.build,
    'BINPERSID': _Machine.load,
    'APPEND': lambda machine, value: machine.extend(machine.last(1)),
    'APPENDS': lambda machine, value: machine.extend(machine.since_mark()),
    'SETITEM': lambda machine, value: machine.update(machine.last(2)),
    'SETITEMS': lambda machine, value: machine.update(machine.since_mark()),
    'NONE': lambda machine, value: machine.push(None),
    'NEWTRUE': lambda machine, value: machine.push(True),
    'NEWFALSE': lambda machine, value: machine.push(False),
    'EMPTY_LIST': lambda machine, value: machine.push(_List()),
    'EMPTY_DICT': lambda machine, value: machine.push(_Object('dict')),
    'EMPTY_SET': lambda machine, value: machine.push(_Object('set')),
    'EMPTY_TUPLE': lambda machine, value: machine.push(_tuple([])),
    'TUPLE': lambda machine, value: machine.push(_tuple(machine.since_mark())),
    'TUPLE1': lambda machine, value: machine.push(_tuple(machine.last(1))),
    'TUPLE2': lambda machine, value: machine.push(_tuple(machine.last(2))),
    'TUPLE3': lambda machine, value: machine.push(_tuple(machine.last(3))),
    **dict.fromkeys(('BINGET', 'LONG_BINGET'), lambda m, value: m.push(m.memo[value])),
    **dict.fromkeys(('BINPUT', 'LONG_BINPUT'), _Machine.keep),
    **dict.fromkeys(
        ('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINSTRING'),
        _Machine.push,
    ),
}
