"""A whole script as torchrun starts it: worker processes that import it again."""

from _pair import Net, begin, configs, finish, main_folder, note, seed, watch
from nncore.engine import Engine, sync
from nncore.nn import build_model


def build(name):
    seed()
    data = configs(train=12, val=6, test=6)
    data['train']['loader']['num_workers'] = 1
    engine = Engine(
        build_model(Net(norm=True, dropout=0.1), dist=True),
        data,
        stages=dict(epochs=1, optimizer=dict(type='SGD', lr=0.1), validation=dict(interval=1)),
        work_dir=main_folder(name),
        logger=name,
        seed=5,
    )
    return watch(engine)


if __name__ == '__main__':
    begin()
    engine = build('whole')
    engine.launch()
    finish('whole', engine)
    sync()
    engine = build('evaluated')
    engine.load_checkpoint('whole/epoch_1.pth')
    note('metrics', found=engine.launch(eval='both'))
    finish('evaluated', engine)
