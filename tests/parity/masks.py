"""What may differ between two runs of one script: clocks, names made of clocks, folders."""

import re

STAMP = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'
SPAN = r'(-?\d+ days?, )?\d+:\d\d:\d\d'
TEXT = [
    (re.compile(rf'\[{STAMP} (\w+)\]: '), r'[\1]: '),
    (re.compile(rf'\beta: {SPAN}'), 'eta: <span>'),
    (re.compile(r'\b(time|data_time): \d+\.\d{3}\b'), r'\1: <seconds>'),
    (re.compile(rf' in {SPAN} \(\d+\.\d{{4}} s/it\)'), ' in <span> (<speed>)'),
    (re.compile(rf'Done running in {SPAN} \({SPAN} on hooks\)'), 'Done running in <span> (<span>)'),
    (re.compile(r'\b\d{14}\b'), '<time>'),
    (re.compile(r'\b0x[0-9a-f]+\b'), '<address>'),
]
# An iterator of a loader that is collected in one of the worker processes says so; chance decides.
ORPHAN = re.compile(
    r'Exception ignored in: <function _MultiProcessingDataLoaderIter\.__del__ .*?\n'
    r'AssertionError: can only test a child process\n',
    re.DOTALL,
)
BAR = re.compile(r'\r\[[> ]*\] (\d+)/(\d+), [\d.]+ task/s, elapsed: [\dsmhd]*, eta: [\dsmhd]* *')
NAMES = [
    (re.compile(r'events\.out\.tfevents\.[^/]+'), 'events.out.tfevents'),
    (re.compile(r'\b\d{14}\b'), '<time>'),
    (re.compile(r'offline-run-\d+_\d+-\w+'), 'offline-run'),
]
TIMINGS = ('time', 'data_time')


def mask_text(text, folder):
    """A log or an output stream without clocks; a progress bar is reduced to its counts."""
    text = BAR.sub(r'<bar \1/\2>', ORPHAN.sub('', text).replace(str(folder), '<folder>'))
    for pattern, word in TEXT:
        text = pattern.sub(word, text)
    return text


def mask_name(name):
    """A file name without clocks, process ids and host names."""
    for pattern, word in NAMES:
        name = pattern.sub(word, name)
    return name


def mask_timings(metrics):
    """A line of metrics.json; of the two timings only the kind of number is kept."""
    return {
        k: type(v).__name__ if k in TIMINGS and isinstance(v, float) else v
        for k, v in metrics.items()
    }


NNCORES = ('meta', 'state_dict', 'optimizer')


def mask_meta(checkpoint):
    """A checkpoint's part that is nncore's, without the time of day of its making."""
    if isinstance(checkpoint, dict) and 'nncore_compat' in checkpoint:
        checkpoint = {k: v for k, v in checkpoint.items() if k in NNCORES}
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict) and re.fullmatch(STAMP, str(meta.get('create_time'))):
        return {**checkpoint, 'meta': {**meta, 'create_time': '<time>'}}
    return checkpoint
