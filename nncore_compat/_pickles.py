"""A reading of a pickle that builds nothing: what it would do, and of what size.

torch's own reader for weights_only decides which functions may be called. This one looks at what
they would be called with: in several versions of torch, sizes that are not those of the file, or
keys that take for ever to hash, went through to code that crashes or hangs.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

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
    machine = _run(_Machine(), file)
    return Scan(machine.stack[-1], machine.storages)


def read(file: Any, until: str | None = None) -> Any:
    """Read one pickle for the plain data in it.

    Args:
        file: The file, at its start.
        until: A key of the outermost dict that is enough, with those before it.

    Returns:
        Its dicts, lists, tuples, texts and numbers, with None for anything else.

    Raises:
        Refused: It is damaged, or does what no checkpoint does.
    """
    return _plain(_run(_Keeping(until), file).result(), {})


def _run(machine: _M, file: Any) -> _M:
    try:
        for opcode, argument, _ in pickletools.genops(file):
            step = _STEPS.get(opcode.name)
            if step is None:
                raise Refused(f'its structure is damaged: {opcode.name} is not used in checkpoints')
            step(machine, argument)
            if machine.done:
                break
        return machine
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise Refused(f'its structure is damaged: {error}') from error


_M = TypeVar('_M', bound='_Machine')


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[int, int]] = {}
        # Whether the rest is not needed.
        self.done = False

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def make_dict(self) -> None:
        self.push(_Object('dict'))

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


class _Kept(_Object):
    """A dict with its items."""

    def __init__(self) -> None:
        super().__init__('dict')
        self.items: list[Any] = []


class _Keeping(_Machine):
    """Keeps what is in dicts, which must not be many times in each other.

    Args:
        until: A key of the outermost dict that is enough.
    """

    def __init__(self, until: str | None) -> None:
        super().__init__()
        self._until = until

    def make_dict(self) -> None:
        self.push(_Kept())

    def update(self, items: list[Any]) -> None:
        super().update(items)
        target = self.stack[-1]
        if not isinstance(target, _Kept):
            return
        target.items.extend(items)
        # The items of the outermost dict lie on the stack until all of them are there.
        if len(self.marks) == 1 and self._until is not None and self.stack[-2:-1] == [self._until]:
            self.done = True

    def result(self) -> Any:
        """Return what was read."""
        if not self.done:
            return self.stack[-1]
        kept = _Kept()
        kept.items = self.stack
        return kept


def _plain(value: Any, made: dict[int, Any]) -> Any:
    if isinstance(value, (str, int, float, type(None))) and not isinstance(value, _Global):
        return value
    if isinstance(value, (_Kept, _List, _Tuple)):
        # Each once, or what is in itself, or in many places, would take for ever.
        if id(value) in made:
            return made[id(value)]
        made[id(value)] = None
        if isinstance(value, _Kept):
            pairs = zip(value.items[::2], value.items[1::2], strict=True)
            # Keys are plain, or of no use.
            result: Any = {
                key: _plain(item, made)
                for key, item in pairs
                if isinstance(key, (str, int)) and not isinstance(key, _Global)
            }
        else:
            result = [_plain(item, made) for item in value]
            result = tuple(result) if isinstance(value, _Tuple) else result
        made[id(value)] = result
        return result
    return None


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
    'EMPTY_DICT': lambda machine, value: machine.make_dict(),
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
