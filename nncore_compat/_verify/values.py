"""What differs between two tensors."""

from __future__ import annotations

from pathlib import Path

import torch


def describe(nncore: Path, ours: Path, names: tuple[str, str]) -> list[str]:
    """Say how many elements of two tensors differ, by how much, and show one of them.

    Args:
        nncore: The file of one.
        ours: The file of the other.
        names: What to call the two sides.

    Returns:
        Lines; none if they are not tensors, or not of one type and shape.
    """
    a, b = (torch.load(path, weights_only=False) for path in (nncore, ours))
    a, b = (torch.as_tensor(x) if x is not None else None for x in (a, b))
    if a is None or b is None or a.dtype != b.dtype or a.shape != b.shape or not a.numel():
        return []
    a, b = (x.to_dense() if x.layout is not torch.strided else x for x in (a, b))
    a, b = a.reshape(-1), b.reshape(-1)
    differ = ~((a == b) | ((a != a) & (b != b)))
    count = int(differ.sum())
    if not count:
        return ['only in the signs of zeros, or the bits of NaN']
    wide = torch.complex128 if a.is_complex() else torch.float64
    distance = torch.where(differ, (a.to(wide) - b.to(wide)).abs(), 0).nan_to_num(float('inf'))
    most = int(distance.argmax())
    shape = torch.load(nncore, weights_only=False).shape
    place = torch.unravel_index(torch.tensor(most), shape)
    index = f'[{", ".join(str(int(i)) for i in place)}]'
    by = f'{float(distance[most]):.3g}'
    verb, most_words = ('differs', by) if count == 1 else ('differ', f'{by} at most')
    lines = [f'{count} of {a.numel()} elements {verb}, by {most_words}, at']
    left, right = (_number(x[most]) for x in (a, b))
    lines.append(f'{index}: {names[0]} {left}, {names[1]} {right}')
    return lines


def _number(value: torch.Tensor) -> str:
    # With as few digits as tell it from its neighbours.
    return str((value.float() if value.dtype is torch.bfloat16 else value).numpy()[()])
