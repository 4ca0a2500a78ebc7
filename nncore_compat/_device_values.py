"""Values on an accelerator, brought to the CPU many at a time: each journey stalls the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Subclasses keep more than numbers, and are moved one by one.
KINDS: tuple[type, ...] = (Tensor, nn.Parameter)
# A tensor of up to so many bytes is copied on the device, to travel with others.
SMALL = 4096
# So much waits at most: copies, their bytes, and the bytes of larger tensors under way.
MOST_COPIES = 1000
MOST_SMALL_BYTES = 2**24
MOST_LARGE_BYTES = 2**26


def can_wait(value: Any) -> bool:
    """Tell whether a value is a tensor on an accelerator that a :class:`Queue` takes."""
    return (
        type(value) in KINDS
        and not value.is_cpu
        # There is nothing to move, which is an error, and always was.
        and not value.is_meta
        and value.layout == torch.strided
        and not value.is_quantized
    )


class Later:
    """A value on its way to the CPU.

    Args:
        queue: What brings it.
        convert: What is to be done with it there.
    """

    __slots__ = ('_convert', '_queue', '_value')

    def __init__(self, queue: Queue, convert: Callable[[Tensor], Any] | None) -> None:
        self._queue: Queue | None = queue
        self._convert = convert
        self._value: Any = None

    @property
    def has_come(self) -> bool:
        """Whether it is there."""
        return self._queue is None

    def get(self) -> Any:
        """Return the value, when it and all that is on its way with it have come."""
        if self._queue is not None:
            self._queue.settle()
        return self._value

    def arrive(self, value: Tensor) -> None:
        """Take the value."""
        self._queue = None
        self._value = value if self._convert is None else self._convert(value)


class Queue:
    """Tensors that stay on their accelerator until one is asked for.

    Small ones are copied there, in one go those that come together, so that later changes in place
    do not reach them; when one is asked for, all travel as one piece. Larger ones set out at once,
    for else they would fill the device: from CUDA to memory that it writes to while the program
    goes on, from others as slowly as ever.
    """

    def __init__(self) -> None:
        self._packs: list[_Pack] = []
        self._small_bytes = 0
        self._large: deque[_Large] = deque()
        self._large_bytes = 0
        # What is to be done with what has come.
        self.actions: list[Callable[[], None]] = []

    def add(
        self, tensors: Sequence[Tensor], convert: Callable[[Tensor], Any] | None = None
    ) -> list[Later]:
        """Take tensors as they are now.

        Args:
            tensors: Those that :func:`can_wait`.
            convert: What is to be done with each on the CPU.
        """
        added = [Later(self, convert) for _ in tensors]
        groups: dict[Any, list[tuple[Tensor, Later]]] = {}
        for tensor, later in zip(tensors, added, strict=True):
            size = tensor.nbytes
            # Contiguous, because that is what they will be on the CPU.
            if 0 < size <= SMALL and tensor.is_contiguous():
                groups.setdefault((tensor.device, tensor.dtype), []).append((tensor, later))
                self._small_bytes += size
            elif tensor.is_cuda and 0 < size <= MOST_LARGE_BYTES:
                self._large.append(_Large(tensor.detach(), later))
                self._large_bytes += size
            else:
                later.arrive(tensor.detach().cpu())
        with torch.no_grad():
            self._packs += [_Pack(group) for group in groups.values()]
        if len(self._packs) > MOST_COPIES or self._small_bytes > MOST_SMALL_BYTES:
            self._fetch()
        while self._large_bytes > MOST_LARGE_BYTES:
            # The oldest, which most likely came long ago.
            self._land()
        return added

    def settle(self) -> None:
        """Have all come, then do what was to be done."""
        self._fetch()
        while self._large:
            self._land()

    def _fetch(self) -> None:
        for device in dict.fromkeys(pack.data.device for pack in self._packs):
            # Those of wide types first, so that each lies where its type may.
            packs = sorted(
                (pack for pack in self._packs if pack.data.device == device),
                key=lambda pack: -pack.data.element_size(),
            )
            for pack in packs:
                pack.follow()
            moved = torch.cat([pack.data.view(torch.uint8) for pack in packs]).cpu()
            for pack, data in zip(packs, moved.split([p.data.nbytes for p in packs]), strict=True):
                pack.unpack(data)
        self._packs, self._small_bytes = [], 0
        actions, self.actions = self.actions, []
        for action in actions:
            action()

    def _land(self) -> None:
        self._large[0].land()
        self._large_bytes -= self._large.popleft().size


class _Pack:
    """Copies of small tensors of one device and type, one behind the other."""

    def __init__(self, group: list[tuple[Tensor, Later]]) -> None:
        self._group = [(tensor.shape, later) for tensor, later in group]
        self.data = torch.cat([tensor.reshape(-1) for tensor, _ in group])
        self._stream = _stream(self.data)

    def follow(self) -> None:
        """Have what is done next wait for the copies, if they were made in another stream."""
        stream = _stream(self.data)
        if stream != self._stream:
            stream.wait_stream(self._stream)

    def unpack(self, data: Tensor) -> None:
        """Hand out the copies.

        Args:
            data: Their bytes, on the CPU.
        """
        parts = data.view(self.data.dtype).split([shape.numel() for shape, _ in self._group])
        for (shape, later), part in zip(self._group, parts, strict=True):
            # Not the part itself: with it the whole would be saved, and kept in memory.
            later.arrive(part.reshape(shape).clone())


class _Large:
    """A tensor that CUDA copies to the CPU by itself."""

    def __init__(self, tensor: Tensor, later: Later) -> None:
        self.size = tensor.nbytes
        self._later = later
        # Held, so that its memory is not given to another before it was read.
        self._source = tensor
        self._copy = tensor.to('cpu', non_blocking=True)
        self._done = torch.cuda.Event()
        self._done.record(_stream(tensor))

    def land(self) -> None:
        """Hand out the copy, when it is complete."""
        self._done.synchronize()
        # Not the copy itself: memory that a device writes to is scarce.
        self._later.arrive(self._copy.clone())


def _stream(tensor: Tensor) -> Any:
    return torch.cuda.current_stream(tensor.device) if tensor.is_cuda else None
