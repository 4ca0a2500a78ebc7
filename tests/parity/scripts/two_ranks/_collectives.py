"""What travels between the processes, by event, as torch's own profiler sees it."""

from _pair import Net, begin, configs, finish, main_folder, note, seed
from nncore.engine import Engine, Hook
from nncore.engine.hooks.base import HOOK_NAMES
from nncore.nn import build_model
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile, record_function


class Mark(Hook):
    """Puts the events of the run among what is profiled."""


def _mark(event):
    def method(self, engine):
        with record_function(f'event {event}'):
            pass

    return method


for _event in HOOK_NAMES:
    setattr(Mark, _event, _mark(_event))

WRAPPERS = dict(
    bare=lambda model: model,
    nncore=lambda model: build_model(model, dist=True),
    torch=DistributedDataParallel,
)
begin()
for wrapper, wrap in WRAPPERS.items():
    for interval in (1, 3):
        seed()
        engine = Engine(
            wrap(Net(norm=True)),
            configs(train=40),
            stages=dict(epochs=2, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
            hooks=[dict(type='OptimizerHook', interval=interval)],
            work_dir=main_folder('run'),
            logger='collectives',
        )
        engine.register_hook(Mark(), before=next(iter(engine.hooks)))
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            engine.launch()
        events = sorted(seen.events(), key=lambda e: e.time_range.start)
        names = [e.name for e in events if e.name.startswith(('event ', 'c10d::'))]
        note('seen', wrapper=wrapper, interval=interval, names=names)
finish('collectives')
