"""Evaluation: collected outputs to metrics, with or without a training around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._phases import metric_hooks
from .comm import gather, is_main_process, sync

if TYPE_CHECKING:
    from .engine import Engine

SPLITS = {'val': ('val',), 'test': ('test',), 'both': ('val', 'test')}


def evaluate(engine: Engine) -> dict[str, Any]:
    """Let the current dataset evaluate what the model put out.

    Returns:
        What ``dataset.evaluate`` returned, on the main process; else an empty dict.

    Raises:
        AttributeError: The dataset has no ``evaluate``.
        KeyError: Nothing was collected.
    """
    if not hasattr(engine, 'data_loader'):
        raise RuntimeError('nothing to evaluate: call evaluate after validation or testing')
    dataset = engine.data_loader.dataset
    if not hasattr(dataset, 'evaluate'):
        raise AttributeError(
            f'{type(dataset).__name__} has no evaluate(outputs, logger=...) method, which is what '
            'turns collected outputs into metrics'
        )
    found = '_out' in engine.buffer.keys()  # noqa: SIM118 (Buffer is no container)
    # Without a batch there is nothing, on one of several processes maybe.
    if not found and engine._length(engine.data_loader) > 0:
        raise KeyError(
            f"nothing to evaluate: the model returned no '_out' in {engine.mode} mode "
            f'(the buffer has {list(engine.buffer.keys())})'
        )
    blobs = [blob for blob in gather(engine.buffer.pop('_out', [])) or [] if blob]
    output: dict[str, Any] = {}
    if is_main_process() and not blobs:
        engine.logger.warning(f'Nothing to evaluate: there was no batch in {engine.mode} mode')
    elif is_main_process():
        # Each rank had every n-th batch, so they are interleaved.
        outputs = [value for values in zip(*blobs, strict=False) for value in values]
        cfg = dict(engine.cur_stage.get('validation') or {})
        cfg.pop('interval', None)
        cfg.pop('offset', None)
        output = dataset.evaluate(outputs[: _size(dataset)], logger=engine.logger, **cfg)
        if output is not None and not hasattr(output, 'items'):
            raise TypeError(
                f'{type(dataset).__name__}.evaluate must return a dict of metrics, got {output!r}'
            )
    sync()
    return output


def _size(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:  # A stream.
        return None


def run(engine: Engine, mode: bool | str) -> dict[str, Any]:
    """Run the model over one or both splits and evaluate.

    Args:
        engine: The engine; its counters and buffer are reset afterwards.
        mode: True or ``'test'``, ``'val'``, or ``'both'``.

    Returns:
        The metrics by split.

    Raises:
        ValueError: The mode is unknown.
    """
    name = 'test' if isinstance(mode, bool) else mode
    if name not in SPLITS:
        raise ValueError(f"eval mode '{mode}' not found, expected True or one of {list(SPLITS)}")
    metrics = {}
    for split in SPLITS[name]:
        if split not in engine.data_loaders:
            raise ValueError(f'no loader for {split}: data_loaders has {list(engine.data_loaders)}')
        announce(engine, split)
        engine.test_epoch(split=split)
        metrics[split] = finish(engine, split)
    return metrics


def announce(engine: Engine, split: str) -> None:
    """Say that a split is about to be run."""
    engine.logger.info(f'Inferencing on {split} split...')


def finish(engine: Engine, split: str) -> dict[str, Any]:
    """Evaluate a split that has been run, and reset the engine's counters and buffer."""
    metrics = _results(engine)
    if metrics:
        values = ', '.join(f'{key}: {value}' for key, value in metrics.items())
        engine.logger.info(f'Evaluation results on {split} split: {values}')
    engine.reset_states()
    return metrics


def _results(engine: Engine) -> dict[str, Any]:
    """Evaluate the split that was tested, with its dataset and with the hooks that have metrics."""
    hooks = metric_hooks(engine)
    results: dict[str, Any] = {}
    if (
        not hooks
        or engine._overrides('evaluate')
        or hasattr(engine.data_loader.dataset, 'evaluate')
    ):
        results = engine.evaluate()
    for hook in hooks:
        computed = hook.compute(engine)
        for key in computed.keys() & (results or {}).keys():
            engine.logger.warning(f'{hook.name}: {key!r} takes the place of what was there')
        results = {**(results or {}), **computed}
    return results
