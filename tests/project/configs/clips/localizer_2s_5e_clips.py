# the encoder is trained first, and frozen while the heads are tuned
_base_ = [
    '../_base_/models/localizer.py',
    '../_base_/datasets/clips.yml',
    '../_base_/schedules/two_stages.yml',
    '../_base_/runtime.yml',
]
# dataset settings
data = dict(train=dict(loader=dict(num_workers=0)))
# runtime settings
hooks = [
    dict(type='EvalHook', high_keys=['mIoU', 'R1@0.5'], low_keys=['error'], run_test=True),
    dict(type='FreezeHook', module='video_enc', stages=[1]),
    dict(type='LossWeightHook', key='loss_reg', start=0.1, steps=8),
    dict(type='EventWriterHook', interval=5),
]
