"""What is done to all gradients at once: the mean over a window, and over processes."""

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


def divide(grads: list[torch.Tensor], divisor: int) -> None:
    """Divides gradients, in place.

    Args:
        grads: The gradients.
        divisor: What to divide them by.
    """
    # On a GPU the one multiplies by the reciprocal and the other divides: alike without rounding.
    on_gpu = divisor & (divisor - 1) == 0
    for grad in grads:
        if not (_is_plain(grad) and (grad.is_cpu or (on_gpu and grad.is_cuda))):
            for grad in grads:
                grad.div_(divisor)
            return
    torch._foreach_div_(grads, divisor)


def average(grads: Iterable[torch.Tensor], coalesce: bool = True, bucket_size_mb: int = -1) -> None:
    """Replaces gradients by their averages over all processes, in place.

    Every process must have the same gradients, in the same order.

    Args:
        grads: The gradients.
        coalesce: Whether to send many at once.
        bucket_size_mb: How many MiB to send at once at most; no limit if not above 0.
    """
    world_size = dist.get_world_size()
    grads = list(grads)
    if not coalesce:
        for grad in grads:
            dist.all_reduce(grad.div_(world_size))
        return
    for bucket in _buckets(grads, bucket_size_mb * 2**20):
        if len(bucket) == 1 and bucket[0].is_contiguous():
            dist.all_reduce(bucket[0])
            bucket[0].div_(world_size)
            continue
        plain = all(map(_is_plain, bucket))
        # Autograd has no business here, and views are made in half the time without.
        with torch.inference_mode(plain):
            flat = _flatten_dense_tensors(bucket)
            dist.all_reduce(flat)
            flat.div_(world_size)
            parts = _unflatten_dense_tensors(flat, bucket)
            if plain:
                torch._foreach_copy_(bucket, parts)
            else:
                for grad, part in zip(bucket, parts, strict=True):
                    grad.copy_(part)


def _buckets(grads: list[torch.Tensor], limit: int) -> Iterator[list[torch.Tensor]]:
    """Groups gradients of one type; sparse ones, which have no common shape, go alone."""
    groups: dict[torch.dtype, list[torch.Tensor]] = {}
    sizes: dict[torch.dtype, int] = {}
    for grad in grads:
        if grad.layout != torch.strided:
            yield [grad]
            continue
        size = grad.numel() * grad.element_size() if limit > 0 else 0
        if limit > 0 and groups.get(grad.dtype) and sizes[grad.dtype] + size > limit:
            yield groups.pop(grad.dtype)
        if grad.dtype not in groups:
            groups[grad.dtype], sizes[grad.dtype] = [], 0
        groups[grad.dtype].append(grad)
        sizes[grad.dtype] += size
    yield from groups.values()


def _is_plain(grad: torch.Tensor) -> bool:
    return type(grad) is torch.Tensor and grad.layout is torch.strided
