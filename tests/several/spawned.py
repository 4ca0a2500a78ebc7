"""Processes that the launch copies from this one: spawned, then forked."""

import contextlib
import os
import sys
from pathlib import Path

import torch
from nncore.engine import Engine

sys.path.insert(0, os.path.dirname(__file__))
from net import by_hand, loaders, seeded, stages


def build(out, method, logger):
    return Engine(
        seeded(),
        loaders(),
        stages=stages(),
        work_dir=os.path.join(out, method),
        logger=logger,
        hooks=[
            {'type': 'EvalHook', 'high_keys': ['hits']},
            {'type': 'ModelCheckpoint', 'monitor': 'hits', 'mode': 'max', 'filename': 'best'},
        ],
        trainer={'strategy': f'ddp_{method}', 'devices': 2},
    )


def main(out):
    found = {}
    expected = by_hand()
    for method in ('spawn', 'fork'):
        engine = build(out, method, method)
        engine.launch()
        weights = engine.model.state_dict()
        found[method] = {
            'by hand': max(float((weights[k] - expected[k]).abs().max()) for k in expected),
            'counters': [engine.stage, engine.epoch, engine.iter, engine.max_iters],
            'optimizer': type(engine.optimizer).__name__,
            'steps': {int(s['step']) for s in engine.optimizer.state_dict()['state'].values()},
            'hooks': list(engine.hooks),
            'files': sorted(f for f in os.listdir(engine.work_dir) if not f.endswith('.log')),
            'log': Path(engine._log_file).read_text(),
            'best': engine.hooks['ModelCheckpoint'].best_model_path,
            'score': float(engine.hooks['ModelCheckpoint'].best_model_score),
            'high': engine.hooks['EvalHook'].state_dict()['high']['hits'],
            'metrics': sorted(engine.trainer.callback_metrics),
            'alone': torch.distributed.is_initialized(),
            'eval': engine.launch(eval='val'),
        }
    # As if it had been interrupted in its last epoch; what the copies do, this process follows.
    os.remove(os.path.join(out, 'spawn', 'epoch_4.pth'))
    again = build(out, 'spawn', 'again')
    again.launch(resume='auto')
    again.logger.info('after the launch')
    weights = again.model.state_dict()
    found['again'] = {
        'by hand': max(float((weights[k] - expected[k]).abs().max()) for k in expected),
        'start': again.start_iter,
        'log': Path(again._log_file).read_text(),
        'logs': [f for f in os.listdir(again.work_dir) if f.endswith('.log')],
    }
    torch.save(found, os.path.join(out, 'found.pt'))
    again.not_to_be_copied = lambda: None
    with contextlib.suppress(TypeError):
        again.launch()


if __name__ == '__main__':
    main(sys.argv[1])
