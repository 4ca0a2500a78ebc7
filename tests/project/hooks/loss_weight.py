from nncore.engine import HOOKS, Hook


@HOOKS.register()
class LossWeightHook(Hook):
    """Raises the weight of a loss, iteration by iteration, from a part of it to all of it."""

    def __init__(self, key, start=0.0, steps=100):
        super().__init__()
        self.key = key
        self.start = start
        self.steps = steps

    def before_launch(self, engine):
        self.weights = getattr(engine.model, 'module', engine.model).loss.weights
        self.weight = self.weights[self.key]

    def before_train_iter(self, engine):
        done = min(engine.iter / self.steps, 1)
        self.weights[self.key] = self.weight * (self.start + (1 - self.start) * done)
        engine.buffer.update('weight', self.weights[self.key])

    def after_train_iter(self, engine):
        self.loss = engine.losses[self.key].item()

    def before_val_epoch(self, engine):
        engine.logger.info(f'{self.key}: {self.loss:.4f}, its weight: {self.weights[self.key]:.4f}')

    def after_epoch(self, engine):
        engine.logger.info(f'Epoch {engine.epoch + 1} is over')
