"""Empties the memory cache of the accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..builder import HOOKS
from ._checks import check_events
from .base import Hook

if TYPE_CHECKING:
    from ..engine import Engine


@HOOKS.register()
class EmptyCacheHook(Hook):
    """Gives cached accelerator memory back on the chosen events.

    Args:
        names: The events.

    Raises:
        ValueError: For an unknown event.

    Examples:
        >>> engine.register_hook(EmptyCacheHook(['after_train_epoch', 'after_val_epoch']))
    """

    def __init__(self, names: Sequence[str] = []) -> None:
        super().__init__()
        events = [names] if isinstance(names, str) else list(names)
        check_events(events, 'EmptyCacheHook.names')
        for name in events:
            setattr(self, name, self._empty_cache)

    def _empty_cache(self, engine: Engine) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
