"""One small run per known difference between nncore's documentation and nncore 0.4.7.

`_rows.py OUT NAME [ARG]` calls the function NAME and writes what it returns to OUT/row.json.
"""

import json
import os
import sys

import torch
from _lab import Net, Points, digest, loaders, random_states, seed, tree
from nncore.engine import (
    ClosureHook,
    Engine,
    EvalHook,
    Hook,
    OptimizerHook,
    SamplerSeedHook,
    load_checkpoint,
)
from torch.utils.data import DataLoader, IterableDataset, RandomSampler
from torch.utils.data.distributed import DistributedSampler

SGD = dict(type='SGD', lr=0.1)


def stage(epochs=2, optimizer=SGD, validation=1, **kwargs):
    return dict(epochs=epochs, optimizer=optimizer, validation=dict(interval=validation), **kwargs)


def make(*stages, model=None, data=None, **kwargs):
    """A seeded engine in the folder `run`, without the hooks that only write files."""
    seed()
    data = data or loaders(train=10, val=5, test=7)
    kwargs.setdefault('work_dir', 'run')
    kwargs.setdefault('logger', 'run')
    return Engine(model or Net(), data, stages=list(stages) or [stage()], **kwargs)


class Record(Hook):
    """Keeps a value per event."""

    def __init__(self, value, *events):
        super().__init__()
        self.rows = []
        for event in events:
            setattr(self, event, lambda engine: self.rows.append(value(engine)))


def outcome(func, *args, **kwargs):
    """The result of a call, or the type of the error that it raised, and its words."""
    try:
        return dict(result=func(*args, **kwargs))
    except Exception as error:
        return dict(error=type(error).__name__, words=str(error))


def read_log():
    (name,) = (f for f in os.listdir('run') if f.endswith('.log'))
    with open(os.path.join('run', name)) as f:
        return f.read()


# Quirks


def hook_defaults():
    """Which of the general events reach hooks that define nothing else."""
    rows = []

    def hook(event):
        def method(self, engine):
            rows.append([event, engine.mode, engine.epoch])

        return type(f'Only_{event}', (Hook,), {event: method})()

    class Sampler(DistributedSampler):
        def set_epoch(self, epoch):
            rows.append(['set_epoch', len(self), epoch])
            super().set_epoch(epoch)

    data = {}
    for split, size in (('train', 4), ('val', 2)):
        points = Points(size)
        sampler = Sampler(points, num_replicas=1, rank=0, shuffle=split == 'train')
        data[split] = DataLoader(points, batch_size=2, sampler=sampler)
    events = ('before_epoch', 'after_epoch', 'before_iter', 'after_iter')
    engine = make(data=data, hooks=[SamplerSeedHook(), *map(hook, events)])
    engine.unregister_hook('EvalHook')
    engine.launch()
    return rows


def stage_end_validation():
    """The epochs after which a validation ran, in stages of 2, 3 and 1 epochs."""
    seen = Record(lambda e: e.epoch, 'before_val_epoch')
    make(stage(2), stage(3), stage(1), hooks=[seen]).launch()
    return seen.rows


def validation_offset():
    """The epochs after which a validation ran, by interval and offset."""
    rows = {}
    for interval, offset in ((1, 3), (2, 1), (3, 1)):
        seen = Record(lambda e: e.epoch, 'before_val_epoch')
        name = f'run{interval}{offset}'
        cfg = stage(7)
        cfg['validation']['offset'] = offset
        cfg['validation']['interval'] = interval
        make(cfg, hooks=[seen], work_dir=name, logger=name).launch()
        rows[f'{interval}, {offset}'] = seen.rows
    return rows


def eval_interval():
    """The epochs whose validation was followed by an evaluation, at intervals of 2 and 3."""
    rows = {}
    for interval in (2, 3):
        seen = Record(
            lambda e: [e.epoch, 'accuracy' in e.buffer.keys()],  # noqa: SIM118
            'after_val_epoch',
        )
        name = f'run{interval}'
        engine = make(stage(6), hooks=[EvalHook(interval=interval)], work_dir=name, logger=name)
        engine.register_hook(seen, before='EventWriterHook')
        engine.launch()
        rows[interval] = [epoch for epoch, evaluated in seen.rows if evaluated]
    return rows


def inexact_resume():
    """The weights of a run, and those of one that goes on after its first epoch."""
    seed()
    whole = make(stage(2), work_dir='whole', logger='whole')
    whole.launch()
    seed(5)
    engine = make(stage(2), work_dir='run', logger='run')
    engine.resume('whole/epoch_1.pth')
    engine.launch()
    return dict(whole=digest(whole.model.state_dict()), resumed=digest(engine.model.state_dict()))


def single_loader():
    """Whether building an engine from a bare loader draws random numbers."""
    seed()
    loader = loaders(train=10)['train']
    before = random_states()
    model = Net()
    seed()
    engine = Engine(model, loader, stages=[stage()], work_dir='run', logger='run')
    drawn = random_states() != before
    engine.launch()
    return dict(drawn=drawn, weights=digest(engine.model.state_dict()))


def silent_failure():
    """What is left of a run that ends with an error: who is told, and what the log says."""
    seen = Record(lambda e: e.iter, 'after_launch')
    bomb = ClosureHook('before_val_iter', lambda e: {}['nothing'])
    row = outcome(make(stage(1), hooks=[seen, bomb]).launch)
    return dict(row, rows=seen.rows, logged=' ERROR]' in read_log())


def endless_loader():
    """An endless stream of known length, as a bare loader; its first batch only is looked at."""

    class Endless(IterableDataset):
        drawn = 0

        def __len__(self):
            return 8

        def __iter__(self):
            while True:
                Endless.drawn += 1
                yield dict(x=torch.ones(6), y=torch.tensor(1))
                if Endless.drawn > 1000:
                    raise RuntimeError('endless')

    loader = DataLoader(Endless(), batch_size=4)
    made = outcome(lambda: bool(Engine(Net(), loader, work_dir='run', logger='run')))
    return dict(made=made, drawn=Endless.drawn)


# Defects that no working script can depend on


def resume_stages():
    """Resume a run of three stages from every epoch; without chance it ends where it would have."""

    def build(name):
        stages = [stage(2), stage(2, dict(type='Adam', lr=0.01)), stage(1)]
        data = loaders(shuffle=False, train=10)
        return make(*stages, data=data, work_dir=name, logger=name)

    engine = build('whole')
    engine.launch()
    rows = {'whole': digest(engine.model.state_dict())}
    for epoch in range(1, 6):
        engine = build(f'from_{epoch}')
        row = outcome(engine.resume, f'whole/epoch_{epoch}.pth')
        if 'error' not in row:
            row = dict(stage=engine.stage, epoch=engine.epoch)
            engine.launch()
            row['weights'] = digest(engine.model.state_dict())
        rows[epoch] = row
    return rows


def evaluate_after_training():
    """Evaluation by the engine that trained, and by a new one from its checkpoint."""
    engine = make()
    engine.launch()
    after = outcome(engine.launch, eval=True)
    fresh = make(work_dir='fresh', logger='fresh')
    fresh.load_checkpoint('run/epoch_2.pth')
    return dict(after=after, fresh=fresh.launch(eval=True))


def debug_outputs():
    """debug=True with an output that is not a scalar and holds a NaN."""

    class Wide(Net):
        def pack(self, out, y, mode):
            return dict(super().pack(out, y, mode), _wide=out.detach() / torch.zeros(3))

    engine = make(stage(1), model=Wide(), debug=True)
    row = outcome(engine.launch)
    return dict(row, log=read_log())


def strict_words():
    """The words of a strict load that does not fit."""
    return outcome(load_checkpoint, Net(norm=True), dict(a=torch.zeros(1)), strict=True)


def unknown_dataset():
    """A dataset that nobody registered."""
    data = dict(train=dict(type='Nothing', loader=dict(batch_size=2)))
    return outcome(lambda: str(Engine(Net(), data, work_dir='run', logger='run')))


def failed_before():
    """A hook whose `before` does not exist."""
    engine = make()
    names = list(engine.hooks)
    row = outcome(engine.register_hook, ClosureHook('before_stage', print), before='Absent')
    return dict(row, left=[n for n in engine.hooks if n not in names])


def amp_label():
    """The data type that amp=True has on the CPU, as labelled and as it is."""
    types = []

    class Typed(Net):
        def pack(self, out, y, mode):
            types.append(str(out.dtype) if mode == 'train' else None)
            return super().pack(out, y, mode)

    engine = make(stage(1), model=Typed(), amp=True)
    engine.launch()
    return dict(label=engine.get_amp_type(), log=read_log(), types=types)


def graph():
    """A model graph for TensorBoard."""

    class Plain(Net):
        def forward(self, data, mode='train', **kwargs):
            return self.pack(self.layers(data['x']), data['y'], mode)

    writer = dict(type='TensorboardWriter', input_to_model='val')
    engine = make(stage(1), model=Plain(), hooks=[dict(type='EventWriterHook', writers=[writer])])
    return outcome(engine.launch)


def torchvision_weights():
    """Weights by a torchvision name."""
    model = Net()
    row = outcome(lambda: str(load_checkpoint(model, 'torchvision://resnet18', strict=True)))
    return dict(row, weights=digest(model.state_dict()))


torchvision_missing = torchvision_weights


def wrapped_model_log():
    """The files of a run whose model was wrapped before the engine was made."""
    from nncore.nn import build_model

    seed()
    model = build_model(Net(), dist=False)
    engine = Engine(model, loaders(train=10), stages=[stage(1)], work_dir='run')
    engine.launch()
    return tree('run')


# Habits that are kept


def warmup_and_schedule():
    """Rates where warm-up and schedule count differently."""

    def rates(schedule, warmup):
        seen = Record(lambda e: e.optimizer.param_groups[0]['lr'], 'after_train_iter')
        name = f'{schedule}_{warmup}'
        engine = make(
            stage(
                4,
                lr_schedule=dict(type=schedule, policy='exp', gamma=0.5),
                warmup=dict(
                    type=warmup, policy='linear', steps=2 if warmup == 'epoch' else 4, ratio=0.1
                ),
            ),
            hooks=[seen],
            work_dir=name,
            logger=name,
        )
        engine.launch()
        return seen.rows

    return dict(warmup_by_iter=rates('epoch', 'iter'), schedule_by_iter=rates('iter', 'epoch'))


def summed_losses():
    """Keys with `loss` in them, a float32 average, and private keys in a small buffer."""

    class Parts(Net):
        def pack(self, out, y, mode):
            return dict(
                _avg_factor=len(y),
                near_loss=out.pow(2).mean(),
                _lossy=out.abs().sum(),
                precise=1 / 3,
                _private=1,
            )

    seen = []

    class See(Hook):
        def after_train_iter(self, engine):
            parts = {k: v.item() for k, v in engine.losses.items()}
            counts = {k: len(v) for k, v in engine.buffer.items() if not k.endswith('time')}
            seen.append([parts, counts, engine.buffer.avg('precise')])

    engine = make(stage(1, validation=0), model=Parts(), buffer_size=2)
    engine.register_hook(See(), before='EventWriterHook')
    engine.launch()
    return seen


def missing_loaders():
    """What stands in for missing loaders, and what becomes of the caller's dict."""
    rows = {}
    for kept in (('train',), ('train', 'val'), ('train', 'test')):
        given = {k: v for k, v in loaders().items() if k in kept}
        name = '_'.join(kept)
        engine = make(data=given, work_dir=name, logger=name)
        used = {k: v.dataset.name for k, v in sorted(engine.data_loaders.items())}
        rows[name] = dict(used=used, given=sorted(given))
    return rows


def two_closures():
    """Two ClosureHooks share a name: the second takes the first's place."""
    seen = []
    hooks = [ClosureHook('before_stage', lambda e, w=w: seen.append(w)) for w in ('one', 'two')]
    engine = make(stage(1), hooks=hooks)
    engine.launch()
    return dict(seen=seen, log=read_log())


def shared_base_lr():
    """The rates of an optimizer object that serves two stages."""
    model = Net()
    shared = torch.optim.SGD(model.parameters(), lr=0.4)
    seen = Record(
        lambda e: [e.optimizer.param_groups[0][k] for k in ('lr', 'base_lr')], 'after_train_iter'
    )
    schedule = dict(type='iter', policy='exp', gamma=0.5)
    stages = [stage(1, shared, lr_schedule=schedule) for _ in range(2)]
    make(*stages, model=model, hooks=[seen]).launch()
    return seen.rows


def typed_tags():
    """The TensorBoard tags of keys with underscores."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Words(Net):
        def pack(self, out, y, mode):
            return dict(
                super().pack(out, y, mode), a_b_c_text_='words', plain_key=1.0, d_e_histogram_=out
            )

    make(stage(1), model=Words()).launch()
    events = EventAccumulator('run/tf_logs')
    events.Reload()
    return {k: v for k, v in sorted(events.Tags().items()) if v}


def run_test_mixture():
    """What run_test leaves in the buffer and in the mode."""
    seen = []

    class See(Hook):
        def after_val_epoch(self, engine):
            losses = [float(v) for v in engine.buffer.get('loss')]
            seen.append([engine.mode, losses, engine.data_loader.dataset.name])

    engine = make(stage(2), hooks=[EvalHook(run_test=True)])
    engine.register_hook(See(), before='EventWriterHook')
    engine.launch()
    return seen


def truncated_outputs():
    """How many collected outputs reach evaluate, when there are more than samples."""
    sizes = []

    class Counting(Points):
        def evaluate(self, blob, logger=None, **kwargs):
            sizes.append(len(blob))
            return dict(size=len(blob))

    points = Counting(5, name='test')
    sampler = RandomSampler(points, replacement=True, num_samples=12)
    test = DataLoader(points, batch_size=1, sampler=sampler)
    engine = make(data=dict(loaders(), test=test))
    return dict(result=engine.launch(eval=True), sizes=sizes)


def float32_validation():
    """Types with amp, and whether losses are scaled for bfloat16 where there is CUDA."""
    types = []

    class Typed(Net):
        def pack(self, out, y, mode):
            types.append([mode, str(out.dtype), torch.is_autocast_enabled('cpu')])
            return super().pack(out, y, mode)

    engine = make(stage(1), model=Typed(), amp='bf16', hooks=[EvalHook(run_test=True)])
    engine.launch()
    available, torch.cuda.is_available = torch.cuda.is_available, lambda: True
    hook = OptimizerHook()
    hook.before_launch(engine)
    scaled = hook.scaler.is_enabled()
    torch.cuda.is_available = available
    return dict(types=types, scaled=scaled)


def resumed_random_states():
    """The random states around a resume from ARG, and at the first batch after it."""
    seen = Record(lambda e: random_states(), 'before_train_epoch')
    engine = make(stage(3), hooks=[seen], model=Net(dropout=0.3))
    states = [random_states()]
    engine.resume(sys.argv[3])
    states.append(random_states())
    engine.launch()
    return dict(states=states, epochs=seen.rows, weights=digest(engine.model.state_dict()))


def trained():
    """A checkpoint for others to resume from."""
    make(stage(3), model=Net(dropout=0.3)).launch()


if __name__ == '__main__':
    seed()
    with open('row.json', 'w') as f:
        json.dump(globals()[sys.argv[2]](), f, default=repr)
