"""What is said on either process, who writes, and what a run leaves of the process around it."""

import logging
import os
import warnings

import torch
import torch.distributed as dist
from _pair import Net, Points, attempt, begin, configs, finish, main_folder, note, seed, watch
from nncore.engine import Engine, Hook, all_gather, get_dist_info, set_random_seed
from nncore.nn import build_model
from nncore.parallel import DataContainer, collate
from torch.utils.data import DataLoader, DistributedSampler


class Talkative(Net):
    """Prints and warns on both processes."""

    def pack(self, out, y, mode):
        warnings.warn(f'careful in {mode}', UserWarning, stacklevel=1)
        logging.getLogger('somebody.else').warning('a word from the model')
        print('seen', len(y))
        result = super().pack(out, y, mode)
        if mode == 'train':
            result['loss_extra'] = result['loss'] * float('nan' if self.bad else 1)
        return result

    bad = False


class Boxed(Points):
    """Every field in a container."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        meta = DataContainer(dict(index=index), cpu_only=True)
        ragged = DataContainer(torch.ones(index % 3 + 1), pad_value=-1, pad_dims=1)
        y = DataContainer(item['y'], pad_dims=None)
        return dict(x=DataContainer(item['x']), y=y, meta=meta, ragged=ragged)


class Scattered(Net):
    """Expects what the wrapper makes of the containers."""

    def forward(self, data, mode='train', **kwargs):
        note('scattered', meta=data['meta'], ragged=data['ragged'].tolist(), kwargs=kwargs)
        return super().forward(data, mode, **kwargs)


class Look(Hook):
    """Looks around in every epoch."""

    def before_train_epoch(self, engine):
        settings('training')

    def before_val_epoch(self, engine):
        settings('validation')


def settings(where):
    note(
        'settings',
        by=where,
        group=[dist.get_backend(), dist.get_world_size(), dist.group.WORLD.group_name],
        info=get_dist_info(),
        environment={k: os.environ.get(k) for k in VARIABLES},
        added=sorted(k for k in os.environ if k not in before),
        root=[logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        filters=len(warnings.filters) - filters if where == 'done' else None,
        cwd=os.path.basename(os.getcwd()) in ('reference', 'ours') or os.getcwd() == cwd,
    )


VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR')
before, cwd, filters = set(os.environ), os.getcwd(), len(warnings.filters)
rank = begin()
settings('start')
drawn = set_random_seed()
note('seeds', same=len(set(all_gather(drawn))), apart=len(set(all_gather((rank, drawn)))))


def boxed(rank):
    sets = dict(train=Boxed(14), val=Boxed(6, name='val'))
    return {
        k: DataLoader(
            v, batch_size=3, sampler=DistributedSampler(v, shuffle=False), collate_fn=collate
        )
        for k, v in sets.items()
    }


own = logging.getLogger('own')
own.setLevel(logging.INFO)
own.addHandler(logging.StreamHandler())
CASES = dict(
    named=dict(logger='named', debug=True),
    own=dict(logger=own),
    default=dict(),
    more=dict(logger='more', hooks=['PreciseBNHook', dict(type='TimerHook')]),
    quick=dict(
        logger='quick',
        hooks=[dict(type='EventWriterHook', interval=2, writers=['JSONWriter'])],
        buffer_size=3,
    ),
    boxed=dict(logger='boxed'),
)
for name, options in CASES.items():
    seed()
    model = Talkative(norm=True)
    model.bad = name == 'named'
    if name == 'boxed':
        model = build_model(Scattered(), dist=True)
    engine = Engine(
        model,
        boxed(rank) if name == 'boxed' else configs(),
        stages=dict(
            epochs=2,
            optimizer=dict(type='SGD', lr=0.1),
            validation=dict(interval=1),
            loss='loss_extra' if name == 'own' else 'loss',
        ),
        work_dir=main_folder(name),
        **options,
    )
    engine.register_hook(Look())
    settings('made')
    watch(engine)
    engine.launch(scale=2)
    settings('done')
    note('logger', level=engine.logger.level, handlers=len(engine.logger.handlers))
    finish(name, engine)
attempt(Engine, Net(), configs(), work_dir=main_folder('refused'), amp='fp8')
finish('refused')
