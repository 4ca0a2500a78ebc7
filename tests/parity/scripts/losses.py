"""Several losses, with and without a `loss` among them, and other outputs of every kind."""

import numpy as np
import torch
from _lab import Net, finish, loaders, note, seed, watch
from nncore.engine import Engine


class Parts(Net):
    """Returns parts of a loss only: they are summed, private and integer ones too."""

    def pack(self, out, y, mode):
        return dict(
            _avg_factor=len(y),
            loss_near=out.pow(2).mean(),
            far_loss=torch.nn.functional.cross_entropy(out, y),
            _loss_hidden=out.abs().mean() * 0.1,
            lossless=1,
        )


class Whole(Net):
    """Returns a `loss` beside its parts, and much that is no loss."""

    def pack(self, out, y, mode):
        near, far = out.pow(2).mean(), torch.nn.functional.cross_entropy(out, y)
        pick = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
        return dict(
            _avg_factor=len(y),
            loss=near + 2 * far,
            loss_near=near,
            loss_far=far,
            hits=(out.argmax(1) == y).float().mean(),
            count=len(y),
            parts=dict(near=near.item(), far=far.item()),
            _secret=out.detach(),
            logits_histogram_=out.detach(),
            hidden_logits_histogram_=out.detach().numpy(),
            note_text_=f'batch of {len(y)}',
            sample_image_=pick,
            samples_images_=torch.stack([pick, 47 - pick]),
            tone_audio_=torch.from_numpy(np.sin(np.arange(64, dtype=np.float32)))[None],
        )


class Silent(Parts):
    """Has a loss in training only."""

    def pack(self, out, y, mode):
        if mode == 'train':
            return super().pack(out, y, mode)
        return dict(_avg_factor=len(y), margin=out.max().item())


def see(engine):
    note('losses', losses={k: torch.as_tensor(v).item() for k, v in engine.losses.items()})


CASES = dict(
    parts=(Parts, {}),
    one_part=(Parts, dict(loss='far_loss')),
    whole=(Whole, {}),
    whole_by_part=(Whole, dict(loss='loss_near')),
    silent=(Silent, {}),
)
for name, (kind, extra) in CASES.items():
    seed()
    optimizer = dict(type='SGD', lr=0.1)
    engine = Engine(
        kind(),
        loaders(val=6),
        stages=dict(epochs=2, optimizer=optimizer, validation=dict(interval=1), **extra),
        hooks=[dict(type='EventWriterHook', interval=4)],
        work_dir=name,
        logger=name,
    )
    engine.register_hook(dict(type='ClosureHook', name='after_train_iter', func=see))
    engine.unregister_hook('EvalHook')
    watch(engine)
    engine.launch()
    finish(name, engine)
