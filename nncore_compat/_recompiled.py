"""A checkpoint brought to the names of a model of which other parts are compiled, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._prefixes import COMPILED, recompile


def follow(
    checkpoint: Mapping[str, Any], section: str, names: Iterable[str] | None
) -> dict[str, Any]:
    """Return a checkpoint of ours under the names of a model.

    Args:
        checkpoint: The checkpoint, which is left as it is.
        section: The key of what an exact resume needs.
        names: The names in the model's state dict.
    """
    result = dict(checkpoint)
    names = list(names or ())
    known = result['state_dict'].keys()
    if not any(COMPILED in name for name in (*names, *known)) or known == set(names):
        return result
    for key in ('state_dict', 'current_model_state'):
        if key in result:
            result[key] = recompile(result[key], names)
    if result.get(section):
        result[section] = _section(result[section], names)
    return result


def _section(section: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    def each(listed: list[str]) -> list[str]:
        return [next(iter(recompile({name: None}, names))) for name in listed]

    groups = section['parameters']
    return {
        **section,
        'frozen': each(section['frozen']),
        'parameters': groups and [each(group) for group in groups],
        'gradients': recompile(section['gradients'], names),
        'ranks': [
            {**own, **{key: recompile(own[key], names) for key in _OWN}} for own in section['ranks']
        ],
    }


_OWN = ('weights', 'averaged', 'gradients')
