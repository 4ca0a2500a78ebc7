from nncore.engine import HOOKS, Hook


@HOOKS.register()
class FreezeHook(Hook):
    """Freezes a module of the model during some stages."""

    def __init__(self, module, stages):
        super().__init__()
        self.module = module
        self.stages = stages

    def before_stage(self, engine):
        frozen = engine.stage in self.stages
        model = getattr(engine.model, 'module', engine.model)
        for param in getattr(model, self.module).parameters():
            param.requires_grad = not frozen
        engine.logger.info(f'{self.module} is {"frozen" if frozen else "trained"}')
