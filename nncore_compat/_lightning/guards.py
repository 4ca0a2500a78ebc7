"""What stands between a user's code and the loops that call it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from .private import Interrupted

F = TypeVar('F', bound=Callable[..., Any])


def passes_stop_iteration(func: F) -> F:
    """Let a StopIteration out of a user's code through the loops that take it for their own."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except StopIteration as error:
            raise Interrupted(error) from error

    return wrapper  # type: ignore[return-value]


def callers_grad_mode(func: F) -> F:
    """Run a step of validation or testing in the grad mode of the launch.

    Lightning runs them under no_grad. In nncore only the model does, so hooks may use gradients.
    """

    @functools.wraps(func)
    def wrapper(self: Any, *args: Any) -> Any:
        if torch.is_grad_enabled() == self.grad_enabled:
            return func(self, *args)
        with torch.set_grad_enabled(self.grad_enabled):
            return func(self, *args)

    return wrapper  # type: ignore[return-value]
