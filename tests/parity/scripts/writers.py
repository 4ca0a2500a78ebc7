"""EventWriterHook: intervals, writers, file names, a writer of the user's own, and figures."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch
from _lab import Net, attempt, finish, loaders, note, seed, watch
from nncore.engine import Engine, EventWriterHook, Hook
from nncore.engine.hooks.writer import WRITERS, Writer


@WRITERS.register()
class Lines(Writer):
    """Writes a line per call to a text file."""

    def open(self, engine):
        self._file = Path('lines.txt').open('a')  # noqa: SIM115

    def write(self, engine, window_size):
        keys = [k for k, _ in engine.buffer.items() if not k.startswith('_')]
        self._file.write(f'{engine.mode} {engine.iter} {window_size} {keys}\n')
        metrics = self._collect_metrics(engine, window_size)
        note('metrics', by='lines', keys=list(metrics))

    def close(self, engine):
        self._file.close()


class Pictures(Hook):
    """Puts typed values of every remaining kind into the buffer."""

    def after_train_iter(self, engine):
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.plot([0, engine.iter])
        engine.buffer.update('curve_figure_', figure)
        engine.buffer.update('two_words_text_', f'at {engine.iter}')
        engine.buffer.update('weights_histogram_', next(engine.model.parameters()).detach().clone())
        engine.buffer.update(
            'grid_images_', torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
        )


class Wrong(Hook):
    """Puts a value of an unknown kind into the buffer."""

    def after_train_iter(self, engine):
        engine.buffer.update('what_smell_', 1)


COMMAND_LINE, JSON, BOARD = 'CommandLineWriter', 'JSONWriter', 'TensorboardWriter'
CASES = dict(
    one=[dict(type='EventWriterHook', interval=1)],
    two=[dict(type='EventWriterHook', interval=2)],
    four=[dict(type='EventWriterHook', interval=4)],
    exact=[dict(type='EventWriterHook', interval=3)],
    json=[dict(type='EventWriterHook', writers=[dict(type=JSON, filename='numbers.json')])],
    board=[
        dict(type='EventWriterHook', interval=5, writers=[dict(type=BOARD, log_dir='board_logs')])
    ],
    silent=[dict(type='EventWriterHook', writers=[])],
    own=[EventWriterHook(interval=4, writers=['Lines', COMMAND_LINE])],
    pictures=[Pictures(), dict(type='EventWriterHook', interval=3)],
)
for name, hooks in CASES.items():
    seed()
    data = loaders(train=24) if name == 'exact' else loaders(val=5)
    stage = dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1))
    engine = Engine(Net(), data, stages=stage, work_dir=name, logger=name)
    engine.register_hook(hooks, before='EventWriterHook' if name == 'pictures' else None)
    watch(engine)
    engine.launch()
    finish(name, engine)

seed()
engine = Engine(Net(), loaders(), stages=stage, hooks=[], work_dir='wrong', logger='wrong')
engine.register_hook(Wrong(), before='EventWriterHook')
error = attempt(engine.launch)
finish('wrong', engine)
