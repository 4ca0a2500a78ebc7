"""Finding out which quirks explain a difference."""

from __future__ import annotations

from collections.abc import Callable, Collection

from .. import quirks

# Runs our side with some quirks: whether it is identical then, and which others it has met.
Try = Callable[[Collection[str]], tuple[bool, Collection[str]]]


def explain(on: Collection[str], met: Collection[str], attempt: Try) -> list[str] | None:
    """Find quirks with which there is no difference, none of them in vain.

    Args:
        on: Those that are switched on anyway.
        met: Those that the run has met.
        attempt: Runs it with some of them.

    Returns:
        The quirks beside those that are on; None if even all of them leave a difference.
    """
    wanted = [*on, *(name for name in met if name not in on)]
    while len(wanted) > len(on):
        same, met = attempt(wanted)
        if same:
            return _least(on, wanted, attempt)
        new = [name for name in met if name not in wanted]
        if not new:
            break
        # Beyond the first difference it meets more.
        wanted += new
    rest = [name for name in quirks.QUIRKS if name not in wanted]
    if rest and attempt([*wanted, *rest])[0]:
        return _least(on, [*wanted, *rest], attempt)
    return None


def _least(on: Collection[str], wanted: Collection[str], attempt: Try) -> list[str]:
    found = [name for name in wanted if name not in on]
    if len(found) == 1:
        return found
    for name in found:
        if attempt([*on, name])[0]:
            return [name]
    for name in tuple(found):
        fewer = [other for other in found if other != name]
        if len(fewer) > 1 and attempt([*on, *fewer])[0]:
            found = fewer
    return found
