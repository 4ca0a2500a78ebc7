"""What is known of a run before it starts, for those who keep settings beside metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..._plain import described

if TYPE_CHECKING:
    from ...engine import Engine


def settings_in(meta: Any) -> dict[str, Any]:
    """Return an engine's `meta` as a dict, whatever it is.

    Args:
        meta: A dict, which is returned as it is; another mapping, a namespace or an object, whose
            public attributes are taken; or anything else, which is put under 'meta'. None gives no
            entries.
    """
    if isinstance(meta, dict):
        return meta
    if meta is None:
        return {}
    if isinstance(meta, Mapping):
        return dict(meta)
    found = {} if callable(meta) else getattr(meta, '__dict__', {})
    public = {key: value for key, value in found.items() if not key.startswith('_')}
    return public or {'meta': meta}


def hyperparameters(engine: Engine) -> dict[str, Any]:
    """Return what an engine is run with as plain data: the entries of `meta`, and the stages."""
    return {**described(settings_in(engine.meta)), 'stages': described(engine.stages)}
