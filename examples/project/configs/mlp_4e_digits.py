_base_ = ['_base_/digits.py', '_base_/runtime.py', 'models']

model = dict(
    type='Classifier',
    encoder=[
        dict(type='Flatten'),
        dict(type='Linear', in_features=64, out_features=64),
        dict(type='ReLU'),
    ],
    head=dict(type='Linear', in_features=64, out_features=10),
)

stages = dict(
    epochs=4,
    optimizer=dict(type='Adam', lr=2e-3),
    warmup=dict(type='iter', policy='linear', steps=45, ratio=0.01),
    validation=dict(interval=1),
)
