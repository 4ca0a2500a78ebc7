# the encoder is trained in the first stage, and frozen while the head is tuned in the second
_base_ = ['_base_/digits.py', '_base_/runtime.py', 'models']

model = dict(
    type='Classifier',
    encoder=[
        dict(type='ConvBlock', in_dims=1, out_dims=16),
        dict(type='ConvBlock', in_dims=16, out_dims=32),
        dict(type='Flatten'),
    ],
    head=dict(type='Linear', in_features=128, out_features=10),
    label_smoothing=0.1,
)

stages = [
    dict(
        epochs=2,
        optimizer=dict(type='AdamW', lr=5e-3, weight_decay=1e-4),
        grad_clip=dict(max_norm=5.0),
        validation=dict(interval=1),
    ),
    dict(
        epochs=2,
        optimizer=dict(type='SGD', lr=1e-2, momentum=0.9),
        lr_schedule=dict(type='iter', policy='cosine'),
        validation=dict(interval=1),
    ),
]

hooks = [
    dict(type='EvalHook', high_keys=['accuracy']),
    dict(type='EventWriterHook', interval=15),
    dict(type='FreezeHook', module='encoder', stages=[1]),
]
