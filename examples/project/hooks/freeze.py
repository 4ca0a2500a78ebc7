from nncore.engine import HOOKS, Hook


@HOOKS.register()
class FreezeHook(Hook):
    """Freezes a part of the model during some stages.

    Args:
        module: The attribute of the model.
        stages: Numbers of the stages, from 0.
    """

    def __init__(self, module, stages):
        super().__init__()
        self.module = module
        self.stages = stages

    def before_stage(self, engine):
        frozen = engine.stage in self.stages
        getattr(engine.model.module, self.module).requires_grad_(not frozen)
        engine.logger.info(f'{self.module} is {"frozen" if frozen else "trained"}')
