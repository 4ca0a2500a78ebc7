_base_ = 'models'
# model settings
dims = 16
model = dict(
    type='Localizer',
    in_dims=12,
    dims=dims,
    video_enc=dict(type='ConvEncoder', num_layers=2, dropout=0.2, norm_cfg='BN1d'),
    class_head=[
        dict(type='Linear', in_features=dims, out_features=dims),
        dict(type='ReLU', inplace=True),
        dict(type='Dropout', p=0.2),
        dict(type='Linear', in_features=dims, out_features=1),
    ],
    coord_head=dict(type='Linear', in_features=dims, out_features=2),
    loss_cfg=dict(
        type='LocalizationLoss',
        loss_cls=dict(type='SmoothedBCELoss', smoothing=0.05),
        loss_reg=dict(type='SmoothL1Loss', reduction='none', loss_weight=0.5),
        loss_sal=dict(weight=0.1, temperature=0.2),
    ),
)
