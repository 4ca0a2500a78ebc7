"""Lightning's callbacks by name, and the names that they have in the list of hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, callbacks

from .._registry import HOOKS, build_known
from .requirements import refuse_unsupported


def build_callback(cfg: dict[str, Any] | str, **kwargs: Any) -> Any:
    """Build a callback of ``lightning.pytorch.callbacks``.

    Args:
        cfg: Its config or name.
        **kwargs: Arguments that go over those of the config.

    Raises:
        ValueError: There is no such callback, and no such hook; the message has what is near.
    """
    return build_known(cfg, [HOOKS, callbacks], 'hook', **kwargs)


def name_for(callback: Any, hooks: Mapping[str, Any]) -> str:
    """Return the name that a callback has, or is to have, in the list of hooks.

    It is the name of its class. A further callback of that class replaces the one before, as hooks
    of one name do, where Lightning would refuse to have both: when both have a state and their
    ``state_key`` (in which the class puts the settings that tell two apart) is the same. Else both
    stay, and the new one gets a number: 'ModelCheckpoint_2'.

    Args:
        callback: The callback.
        hooks: The list.

    Raises:
        TypeError: It is no callback.
        ValueError: It cannot work here.
    """
    if not isinstance(callback, Callback):
        raise TypeError(
            f'hook must be a Hook, a Lightning Callback, a dict or a str, but got {callback!r}'
            f'{_other_package(callback)}'
        )
    refuse_unsupported(callback, hooks)
    for name, other in hooks.items():
        if other is callback or _replaces(callback, other):
            return name
    name, number = type(callback).__name__, 1
    free = name
    while free in hooks:
        number += 1
        free = f'{name}_{number}'
    return free


def _replaces(callback: Callback, other: Any) -> bool:
    # Lightning's own rule, at the construction of a Trainer.
    stateful = type(callback).state_dict is not Callback.state_dict
    return type(other) is type(callback) and stateful and callback.state_key == other.state_key


def _other_package(value: Any) -> str:
    for cls in type(value).__mro__:
        if cls.__name__ == 'Callback' and cls.__module__.startswith('pytorch_lightning.'):
            return (
                ': it is a callback of the package pytorch_lightning, which is another one than '
                'lightning.pytorch; import it from lightning.pytorch.callbacks'
            )
    return ''
