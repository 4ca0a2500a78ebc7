"""The second process ends in the middle of an epoch, and the first one waits for it."""

from _pair import Net, begin, configs, main_folder, seed
from nncore.engine import Engine, Hook, is_main_process


class Fail(Hook):
    """Fails on one process."""

    def before_train_iter(self, engine):
        if engine.iter == 1 and not is_main_process():
            raise ArithmeticError('only here')


begin()
seed()
engine = Engine(Net(), configs(), hooks=[Fail()], work_dir=main_folder('run'))
engine.launch()
