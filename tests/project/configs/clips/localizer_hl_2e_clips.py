# highlights only: no boundaries, another norm, samples in persistent workers, gradients of two
# iterations at once
_base_ = [
    '../_base_/models/localizer.py',
    '../_base_/datasets/clips.yml',
    '../_base_/schedules/default.yml',
    '../_base_/runtime.yml',
]
# model settings
model = dict(
    video_enc=dict(norm_cfg=dict(type='LN'), num_layers=1),
    coord_head=None,
    loss_cfg=dict(loss_reg=None, loss_sal=dict(temperature=0.1)),
)
# dataset settings
data = dict(train=dict(loader=dict(num_workers=1, persistent_workers=True, drop_last=True)))
# runtime settings
stages = dict(epochs=2, lr_schedule=None, warmup=dict(steps=2))
hooks = [
    dict(type='OptimizerHook', interval=2),
    dict(type='CheckpointHook', interval=2, create_symlink=True),
    dict(type='EvalHook', high_keys=['mAP']),
    dict(type='EventWriterHook', interval=2),
]
