# what all experiments have in common
_base_ = 'hooks'

seed = 1

hooks = [
    dict(type='EvalHook', high_keys=['accuracy']),
    dict(type='EventWriterHook', interval=15),
]
