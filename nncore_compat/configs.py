"""The shapes of the configs that Engine takes, for editors and type checkers.

Plain dicts are as good, and at run time there is nothing else: ``Stage(epochs=4, ...)`` is a dict.
Made so, or written in braces where a variable is said to hold them, their keys are completed and
explained by an editor, and a type checker finds those that are misspelt::

    from nncore_compat.configs import Stage, Warmup

    STAGES: list[Stage] = [
        Stage(
            epochs=4,
            optimizer=dict(type='Adam', lr=1e-3),
            warmup=Warmup(type='iter', policy='linear', steps=50),
        ),
        {'epochs': 6, 'optimizer': dict(type='SGD', lr=1e-2)},
    ]

A stage with keys of your own, for hooks of your own, is a subclass of :class:`Stage` that has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from typing_extensions import Required, TypedDict

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from torch.optim import Optimizer

    from .hooks.base import Hook

__all__ = [
    'AnyHook',
    'AnyLoader',
    'AnyStage',
    'GradClip',
    'LrSchedule',
    'Stage',
    'Validation',
    'Warmup',
]


class LrSchedule(TypedDict, total=False):
    """How the learning rates of a stage change; with the settings of its policy."""

    type: Required[Literal['epoch', 'iter']]
    """When the rates are set: before each epoch, or before each iteration."""
    policy: Required[Literal['step', 'cosine', 'exp', 'poly', 'inv'] | str]
    """What they follow: `step`, `cosine`, `exp`, `poly`, `inv`, or a registered one."""
    step: Sequence[int] | int
    """Of `step`: the epochs or iterations at which the rates drop, or one period."""
    gamma: float
    """Of `step` (0.1), `exp` and `inv`: the factor."""
    power: float
    """Of `poly` and `inv` (1): the exponent."""
    target_lr: float
    """Of `cosine` (0): the rate at the end."""
    min_lr: float
    """Of `poly` (0): the rate at the end."""


class Warmup(TypedDict, total=False):
    """How the learning rates of a stage rise at its beginning."""

    type: Required[Literal['epoch', 'iter']]
    """When the rates are set: before each epoch, or before each iteration."""
    policy: Required[Literal['linear', 'exp', 'constant']]
    """What the rates follow on their way up."""
    steps: int
    """How many epochs or iterations it lasts."""
    step: int
    """Another name of `steps`."""
    ratio: float
    """The fraction of the rates to begin with (0.001)."""


class Validation(TypedDict, total=False):
    """When a stage is validated."""

    interval: int
    """Validate after every n-th epoch; 0 for never."""
    offset: int
    """The number of epochs before the first that counts (0)."""


class GradClip(TypedDict, total=False):
    """How gradients are clipped: the arguments of `torch.nn.utils.clip_grad_norm_`."""

    max_norm: Required[float]
    """The norm that all gradients together are scaled down to."""
    norm_type: float
    """Which norm (2)."""
    error_if_nonfinite: bool
    """Whether a norm that is Inf or NaN is an error (False)."""
    foreach: bool | None
    """Whether tensors are worked on together (where it is faster)."""


class Stage(TypedDict, total=False):
    """A stage of the training: some epochs with one optimizer."""

    epochs: Required[int]
    """The number of epochs."""
    optimizer: Required[Optimizer | Mapping[str, Any] | str]
    """An optimizer, or the name of one and its arguments: `dict(type='Adam', lr=1e-3)`."""
    lr_schedule: LrSchedule | None
    """How the learning rates change."""
    warmup: Warmup | None
    """How they rise at the beginning."""
    validation: Validation | dict[str, Any] | None
    """When to validate; without it, never. Other keys go to the data set's `evaluate`."""
    grad_clip: GradClip | None
    """How to clip gradients."""
    loss: str
    """The key of the model's output that is minimised (`loss`)."""


AnyStage: TypeAlias = 'Stage | dict[str, Any]'
"""A stage, with keys that are known or not."""
AnyHook: TypeAlias = 'Hook | Callback | dict[str, Any] | str'
"""A hook or a Lightning callback, its config, or its name."""
AnyLoader: TypeAlias = 'Iterable[Any] | Mapping[str, Any] | str'
"""A data loader, the config of its data set, or the name of that."""
