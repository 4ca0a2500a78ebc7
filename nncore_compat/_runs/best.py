"""Whether the highest or the lowest value of a metric is the best one, and how that is known."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from .records import Records

# Words in the names of metrics.
_LOW = re.compile(
    'loss|losses|err|error|mae|mse|rmse|msle|nll|ce|bce|kl|ppl|perplexity|fid|kid|lpips|wer|cer|ter'
    '|eer|mpjpe|epe|ade|fde|rmsd|dist|distance|regret|bpd|ece|brier|nme|hd|hausdorff|assd|latency'
)
_HIGH = re.compile(
    'acc|accuracy|prec|precision|rec|recall|map|ap|ar|auc|auroc|auprc|f|fscore|score|iou|miou|giou'
    '|dice|jaccard|psnr|ssim|bleu|rouge|meteor|cider|spice|hit|hits|ndcg|mrr|r|corr|pearson'
    '|spearman|kappa|mcc|sensitivity|specificity|reward|return|top|rank|hota|mota|idf|em|match'
    '|success|pck|oks|hmean|pq|sdr|snr|stoi|pesq'
)
BEST = 'best_'


class Direction(NamedTuple):
    """What is best of a metric.

    Args:
        high: Whether it is the highest value.
        known: Whether the run itself says so; otherwise it was guessed by the metric's name.
    """

    high: bool
    known: bool


def direction(
    key: str,
    records: Records,
    hooks: Mapping[str, Any],
    high: Iterable[str] = (),
    low: Iterable[str] = (),
) -> Direction | None:
    """Tell which value of a metric is the best.

    Args:
        key: The metric.
        records: Where EvalHook writes `best_<key>` beside what it tracks.
        hooks: States of the hooks in a checkpoint; those that evaluate know their keys.
        high: Metrics whose highest value is the best, as the user says.
        low: Metrics whose lowest value is.

    Returns:
        The direction; None where the name says nothing either.
    """
    if key in high or key in low:
        return Direction(key in high, True)
    for state in hooks.values():
        if isinstance(state, Mapping):
            for name in ('high', 'low'):
                tracked = state.get(name)
                if isinstance(tracked, Mapping) and key in tracked:
                    return Direction(name == 'high', True)
    tracked_as = _as_tracked(key, records)
    if tracked_as is not None:
        return Direction(tracked_as, True)
    guessed = guess(key)
    return None if guessed is None else Direction(guessed, False)


def guess(key: str) -> bool | None:
    """Tell by its name whether a metric is to be high; None where it says nothing."""
    # valAcc, top-1 and R@1 are val acc, top and r.
    words = re.findall(r'[a-z]+', re.sub(r'([a-z])([A-Z])', r'\1 \2', key).lower())
    if any(_LOW.fullmatch(word) or word.endswith(('loss', 'error')) for word in words):
        return False
    if any(_HIGH.fullmatch(word) or word.endswith(('acc', 'accuracy')) for word in words):
        return True
    return None


def best(values: Iterable[float], high: bool) -> int | None:
    """Return the index of the first best value; None if none is a number."""
    finite = [(value, -index) for index, value in enumerate(values) if math.isfinite(value)]
    if not finite:
        return None
    chosen = max(finite) if high else min(finite, key=lambda pair: (pair[0], -pair[1]))
    return -chosen[1]


def _as_tracked(key: str, records: Records) -> bool | None:
    """Tell the direction by what EvalHook has written, if it can be told."""
    for mode in ('val', 'test'):
        values = dict(zip(*records.series(mode, key), strict=True))
        tracked = dict(zip(*records.series(mode, BEST + key), strict=True))
        both = [(values[place], tracked[place]) for place in tracked if place in values]
        for value, so_far in both:
            if so_far != value and math.isfinite(so_far) and math.isfinite(value):
                return so_far > value
        # Each was the best at its time: they have gone one way. After a resume, nncore begins
        # anew, so that only neighbours tell.
        steps = [after - before for (before, _), (after, _) in pairwise(both)]
        signs = {step > 0 for step in steps if step}
        if len(signs) == 1:
            return signs.pop()
    return None
