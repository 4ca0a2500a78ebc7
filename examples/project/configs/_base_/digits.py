# the data, and the package that registers them
_base_ = 'datasets'

data = dict(
    train=dict(type='Digits', split='train', noise=0.1, loader=dict(batch_size=32, shuffle=True)),
    val=dict(type='Digits', split='val', loader=dict(batch_size=128)),
)
