"""Bad input is named, with its place, before training starts."""

import getpass
import json
import logging
import os

import numpy as np
import pytest
import torch
from tiny import Net, Points, engine, stage
from torch.utils.data import DataLoader

from nncore_compat._ready import check_devices

SCHEDULE = {'type': 'epoch', 'policy': 'cosine'}
WARMUP = {'type': 'iter', 'policy': 'linear', 'steps': 3, 'ratio': 0.1}


def without(cfg, key):
    return {k: v for k, v in cfg.items() if k != key}


@pytest.mark.parametrize(
    ('changes', 'error', 'texts'),
    [
        ({'epochs': ...}, KeyError, ['stages[0].epochs is missing']),
        ({'epochs': ..., 'epoch': 3}, KeyError, ["did you mean 'epoch'"]),
        ({'epochs': 0}, ValueError, ['stages[0].epochs', 'at least 1', '0']),
        ({'epochs': -2}, ValueError, ['stages[0].epochs', '-2']),
        ({'epochs': '3'}, TypeError, ['stages[0].epochs', "'3'", 'integer']),
        ({'epochs': True}, TypeError, ['stages[0].epochs', 'True']),
        ({'epochs': 1.5}, TypeError, ['stages[0].epochs', '1.5']),
        ({'optimizer': ...}, KeyError, ['stages[0].optimizer is missing']),
        (
            {'optimizer': {'type': 'SDG'}},
            ValueError,
            ['stages[0].optimizer.type', "'SDG'", "'SGD'"],
        ),
        ({'optimizer': {'lr': 1}}, KeyError, ['stages[0].optimizer', "'type'"]),
        ({'optimizer': 3}, TypeError, ['stages[0].optimizer', '3']),
        ({'lr_schedule': 'cosine'}, TypeError, ['stages[0].lr_schedule', "'cosine'"]),
        (
            {'lr_schedule': {'type': 'epoch', 'policy': 'cosin'}},
            TypeError,
            ['stages[0].lr_schedule.policy', "'cosin'", "did you mean 'cosine'", "'poly'"],
        ),
        ({'lr_schedule': {'type': 'epoch'}}, KeyError, ['stages[0].lr_schedule.policy']),
        ({'lr_schedule': {'policy': 'cosine'}}, KeyError, ['stages[0].lr_schedule.type']),
        (
            {'lr_schedule': {'type': 'step', 'policy': 'cosine'}},
            ValueError,
            ['stages[0].lr_schedule.type', "'step'", "'epoch', 'iter'"],
        ),
        *(
            (
                {'lr_schedule': {'type': 'epoch', 'policy': policy}},
                KeyError,
                [f'stages[0].lr_schedule.{key} is missing', repr(policy)],
            )
            for policy, key in (('step', 'step'), ('exp', 'gamma'), ('inv', 'gamma'))
        ),
        (
            {'warmup': {**WARMUP, 'policy': 'linar'}},
            TypeError,
            ['stages[0].warmup.policy', "'linear'"],
        ),
        ({'warmup': {**WARMUP, 'type': 'it'}}, ValueError, ['stages[0].warmup.type', "'it'"]),
        ({'warmup': without(WARMUP, 'steps')}, KeyError, ['stages[0].warmup.steps is missing']),
        ({'warmup': without(WARMUP, 'type')}, KeyError, ['stages[0].warmup.type is missing']),
        ({'warmup': {**WARMUP, 'steps': 'x'}}, TypeError, ['stages[0].warmup.steps', "'x'"]),
        ({'validation': {'interval': '1'}}, TypeError, ['stages[0].validation.interval', "'1'"]),
        ({'validation': 1}, TypeError, ['stages[0].validation', '1']),
        ({'grad_clip': 2.0}, TypeError, ['stages[0].grad_clip', '2.0']),
        ({'grad_clip': {'maxnorm': 1}}, TypeError, ['stages[0].grad_clip', 'max_norm']),
        ({'grad_clip': {}}, TypeError, ['stages[0].grad_clip', 'max_norm']),
        ({'loss': ['loss']}, TypeError, ['stages[0].loss', "['loss']"]),
        (
            {'optimizer': {'type': 'SGD', 'lr': 0.1, 'momentun': 0.9}},
            TypeError,
            ['stages[0].optimizer', 'momentun'],
        ),
        ({'optimizer': {'type': 'SGD', 'lr': -1}}, ValueError, ['stages[0].optimizer', '-1']),
        ({'optimizer': 'Optimizer'}, TypeError, ['stages[0].optimizer', 'defaults']),
        ({'warmup': {**WARMUP, 'ratio': 'x'}}, TypeError, ['stages[0].warmup.ratio', "'x'"]),
        ({'warmup': {**WARMUP, 'ratio': -1}}, ValueError, ['stages[0].warmup.ratio', '-1']),
        *(
            (
                {'lr_schedule': {'type': 'epoch', 'policy': policy, key: value}},
                error,
                ['stages[0].lr_schedule'],
            )
            for policy, key, value, error in (
                ('step', 'step', 0, ValueError),
                ('step', 'step', ['1'], TypeError),
                ('exp', 'gamma', '.9', TypeError),
                ('poly', 'power', '1', TypeError),
                ('cosine', 'target_lr', '0', TypeError),
            )
        ),
        *(
            (
                {'lr_schedule': {'type': kind, 'policy': 'step', 'step': [5, late]}},
                TypeError,
                ['stages[0].lr_schedule.step', repr(late)],
            )
            for kind, late in (('iter', '6'), ('epoch', None), ('iter', [7]), ('iter', 6j))
        ),
        ({'grad_clip': {'max_norm': 'x'}}, ValueError, ['stages[0].grad_clip.max_norm', "'x'"]),
        ({'grad_clip': {'max_norm': None}}, TypeError, ['stages[0].grad_clip.max_norm', 'None']),
        (
            {'grad_clip': {'max_norm': 1, 'norm_type': 'fro'}},
            ValueError,
            ['stages[0].grad_clip.norm_type', "'fro'"],
        ),
    ],
)
def test_stage(tmp_path, changes, error, texts):
    with pytest.raises(error) as info:
        engine(tmp_path / 'work', stages=stage(**changes))
    for text in texts:
        assert text in str(info.value).replace('\\', '')
    assert not os.path.exists(tmp_path / 'work'), 'a refused engine leaves no files'


@pytest.mark.parametrize('step', [[1, 2.5], (1, 9), np.array([1, 2]), torch.tensor([1, 2]), []])
def test_bounds_that_nncore_takes(tmp_path, step):
    one = engine(tmp_path, stages=stage(lr_schedule=dict(type='iter', policy='step', step=step)))
    assert one.plan().ok
    one.launch()


@pytest.mark.parametrize('norm_type', ['inf', 2, 1.5])
def test_norms_that_torch_takes(tmp_path, norm_type):
    clip = {'max_norm': '1.0', 'norm_type': norm_type}
    engine(tmp_path, stages=stage(grad_clip=clip)).launch()


def test_place_of_a_later_stage(tmp_path):
    with pytest.raises(TypeError, match=r'stages\[1\]\.lr_schedule\.policy'):
        engine(tmp_path, stages=[stage(), stage(lr_schedule={**SCHEDULE, 'policy': 'x'})])


def test_typo_in_a_key_is_reported_but_may_be_a_hooks_own(tmp_path, caplog):
    logger = logging.getLogger('typos')
    cfg = stage(
        lr_shedule=SCHEDULE, my_own=1, warmup={**WARMUP, 'step_': 3}, validation={'intervl': 1}
    )
    engine(tmp_path, stages=cfg, logger=logger)
    texts = [record.getMessage() for record in caplog.records]
    assert any('stages[0]' in t and "'lr_shedule'" in t and "'lr_schedule'" in t for t in texts)
    assert any('stages[0].warmup' in t and "'step_'" in t for t in texts)
    assert any('stages[0].validation' in t and "'intervl'" in t for t in texts)
    assert not any('my_own' in t for t in texts)


@pytest.mark.parametrize(
    ('kwargs', 'error', 'texts'),
    [
        ({'hooks': ['EvalHok']}, ValueError, ["'EvalHok'", "'EvalHook'"]),
        ({'hooks': [{'type': 'Nothing'}]}, ValueError, ["'Nothing'", 'EvalHook']),
        ({'hooks': [3]}, TypeError, ['hooks[0]', 'Hook', '3']),
        ({'hooks': ['TimerHook', 'EvalHok']}, ValueError, ['hooks[1]', "'EvalHok'"]),
        ({'hooks': [{'type': 'EvalHook', 'intrval': 2}]}, TypeError, ['hooks[0]', 'intrval']),
        ({'hooks': [{'type': 'EvalHook', 'high_keys': 'acc'}]}, TypeError, ['high_keys', "'acc'"]),
        ({'hooks': [{'type': 'EvalHook', 'interval': '2'}]}, ValueError, ['interval', "'2'"]),
        ({'hooks': [{'type': 'CheckpointHook', 'interval': 1.5}]}, ValueError, ['interval', '1.5']),
        (
            {'hooks': [{'type': 'EventWriterHook', 'writers': 'JSONWriter'}]},
            TypeError,
            ['writers', "'JSONWriter'"],
        ),
        ({'hooks': [object]}, TypeError, ['Hook']),
        ({'amp': 'fp8'}, TypeError, ["'fp8'", "'bf16'"]),
        ({'amp': 1.5}, TypeError, ['1.5']),
        ({'amp': {'dtyp': torch.float16}}, TypeError, ['dtyp', 'dtype']),
        ({'model': 'Lineer'}, ValueError, ["'Lineer'", "'Linear'"]),
        ({'model': {'type': 'Nothing'}}, ValueError, ["'Nothing'"]),
        ({'data_loaders': 'NoSuchSet'}, ValueError, ["'NoSuchSet'"]),
        ({'data_loaders': {'train': {'type': 'NoSuchSet'}}}, ValueError, ["'NoSuchSet'"]),
        ({'data_loaders': {'train': 3}}, TypeError, ["data_loaders['train']", '3']),
        ({'data_loaders': {'trian': 3}}, KeyError, ["'trian'", "'train'"]),
        ({'data_loaders': {}}, KeyError, ["'train'"]),
        ({'buffer_size': 0}, ValueError, ['0']),
        ({'stages': [3]}, TypeError, ['stages[0]', '3']),
        ({'stages': 'SGD'}, TypeError, ['stages', "'SGD'"]),
    ],
)
def test_engine_arguments(tmp_path, kwargs, error, texts):
    with pytest.raises(error) as info:
        engine(tmp_path, **kwargs)
    for text in texts:
        assert text in str(info.value)


def test_no_loader_for_training(tmp_path):
    only_test = engine(tmp_path, data_loaders={'test': DataLoader(Points(), 4)})
    with pytest.raises(ValueError, match=r"no loader for training.*'test'"):
        only_test.launch()
    assert only_test.launch(eval='test')['test'].keys() == {'acc'}


def test_amp_leaves_the_callers_dict(tmp_path):
    amp = {'dtype': torch.bfloat16}
    engine(tmp_path, amp=amp)
    assert amp == {'dtype': torch.bfloat16}


@pytest.mark.parametrize(
    ('change', 'error', 'texts'),
    [
        (lambda output: output['loss'], TypeError, ['Net.forward', 'dict', 'Tensor', 'iter 1']),
        (lambda output: {'_avg_factor': 4}, TypeError, ['no loss', '_avg_factor']),
        (lambda output: without(output, '_avg_factor'), KeyError, ['_avg_factor']),
    ],
)
def test_output_of_the_model(tmp_path, change, error, texts):
    wrong = engine(tmp_path, Net(change))
    with pytest.raises(error) as info:
        wrong.launch()
    for text in texts:
        assert text in str(info.value)
    assert wrong.iter == 0, 'named at the first iteration'


def test_loss_of_the_stage(tmp_path):
    with pytest.raises(KeyError, match=r"stages\[0\]\.loss.*'loss'"):
        engine(tmp_path, stages=stage(loss='loss_x')).launch()


def test_before_not_found_registers_nothing(tmp_path):
    one = engine(tmp_path)
    names = list(one.hooks)
    with pytest.raises(ValueError, match=r"'EvalHok' not found.*'EvalHook'"):
        one.register_hook('EmptyCacheHook', before='EvalHok')
    assert list(one.hooks) == names


def test_duplicate_hook(tmp_path):
    one = engine(tmp_path)
    old = one.hooks['EvalHook']
    with pytest.raises(KeyError, match='EvalHook.*exists'):
        one.register_hook('EvalHook', overwrite=False)
    assert one.hooks['EvalHook'] is old


def test_unregister_unknown_hook(tmp_path):
    with pytest.raises(KeyError, match="'Nothing' not found"):
        engine(tmp_path).unregister_hook('Nothing')


def test_eval_mode(tmp_path):
    with pytest.raises(ValueError, match=r"'train' not found.*'both'"):
        engine(tmp_path).launch(eval='train')


def test_evaluate_without_outputs_or_method(tmp_path):
    with pytest.raises(KeyError, match="returned no '_out'"):
        engine(tmp_path, Net(lambda output: without(output, '_out'))).launch(eval=True)
    plain = torch.utils.data.TensorDataset(torch.zeros(4, 2), torch.zeros(4).long())

    def collate(samples):
        x, y = zip(*samples, strict=True)
        return {'x': torch.stack(x), 'y': torch.stack(y)}

    loaders = {'test': DataLoader(plain, 2, collate_fn=collate)}
    with pytest.raises(AttributeError, match='TensorDataset has no evaluate'):
        engine(tmp_path, data_loaders=loaders).launch(eval=True)


def test_resume_refusals(tmp_path):
    fresh = engine(tmp_path)
    with pytest.raises(FileNotFoundError, match='nothing.pth'):
        fresh.resume(str(tmp_path / 'nothing.pth'))

    fresh.launch()
    good = tmp_path / 'epoch_1.pth'
    truncated = tmp_path / 'truncated.pth'
    truncated.write_bytes(good.read_bytes()[:-700])
    with pytest.raises(RuntimeError, match='truncated.pth'):
        fresh.resume(str(truncated))

    text = tmp_path / 'text.pth'
    text.write_text('no checkpoint')
    with pytest.raises(RuntimeError, match='text.pth'):
        fresh.resume(str(text))

    checkpoint = torch.load(good)
    for key, error in (
        ('meta', RuntimeError),
        ('state_dict', RuntimeError),
        ('optimizer', KeyError),
    ):
        torch.save(without(checkpoint, key), tmp_path / 'part.pth')
        with pytest.raises(error, match=f'{key}.*part.pth|part.pth.*{key}'):
            fresh.resume(str(tmp_path / 'part.pth'))
    with pytest.raises(RuntimeError, match='given checkpoint'):
        fresh.resume([1, 2])
    for key, value in (('epoch', '3'), ('iter', -1)):
        wrong = {**checkpoint, 'meta': {**checkpoint['meta'], key: value}}
        with pytest.raises(RuntimeError, match=rf'meta\.{key} must be.*{value}'):
            fresh.resume(wrong)
    assert (fresh.epoch, fresh.iter) == (1, 3), 'a refused checkpoint changes nothing'


def test_methods_that_lightning_replaces(tmp_path):
    from nncore_compat import Engine

    with pytest.raises(TypeError, match=r'Mine\.train_epoch would never be called'):

        class Mine(Engine):
            def train_epoch(self):
                pass


def test_a_refused_optimizer_changes_nothing(tmp_path):
    engine(tmp_path, stages=stage(epochs=2)).launch()
    checkpoint = torch.load(tmp_path / 'epoch_1.pth')
    checkpoint['optimizer']['param_groups'] *= 2
    fresh = engine(tmp_path, stages=stage(epochs=2))
    weight = fresh.model.fc.weight.clone()
    with pytest.raises(ValueError, match=r'given checkpoint, optimizer of stages\[0\]'):
        fresh.resume(checkpoint)
    assert (fresh.epoch, fresh.iter, fresh.stage) == (0, 0, 0)
    assert torch.equal(fresh.model.fc.weight, weight)


def test_resume_takes_a_path(tmp_path):
    engine(tmp_path, stages=stage(epochs=2)).launch()
    again = engine(tmp_path, stages=stage(epochs=2))
    again.resume(tmp_path / 'epoch_1.pth')
    assert (again.epoch, again.iter) == (1, 3)


def test_losses_without_a_factor_in_validation_are_reported_once(tmp_path, caplog):
    def change(output):
        return output if torch.is_grad_enabled() else without(output, '_avg_factor')

    logger = logging.getLogger('factors')
    wrong = engine(
        tmp_path, Net(change), stages=stage(epochs=2, validation={'interval': 1}), logger=logger
    )
    wrong.launch()
    texts = [record.getMessage() for record in caplog.records]
    assert sum("no '_avg_factor' in val mode" in text for text in texts) == 1


def test_evaluate_must_return_metrics(tmp_path):
    class Wrong(Points):
        def evaluate(self, outputs, logger=None):
            return 3

    wrong = engine(tmp_path, data_loaders={'test': DataLoader(Wrong(), 4)})
    with pytest.raises(RuntimeError, match='nothing to evaluate'):
        wrong.evaluate()
    with pytest.raises(TypeError, match=r'Wrong\.evaluate must return a dict.*3'):
        wrong.launch(eval=True)


def test_a_split_that_looks_misspelt_is_reported(tmp_path, caplog):
    loaders = {'train': DataLoader(Points(), 4), 'valid': DataLoader(Points(), 4)}
    engine(tmp_path, data_loaders=loaders, logger=logging.getLogger('splits'))
    loaders = {**loaders, 'val': DataLoader(Points(), 4)}
    engine(tmp_path, data_loaders=loaders, logger=logging.getLogger('splits'))
    texts = [record.getMessage() for record in caplog.records]
    assert [t for t in texts if 'split' in t] == [
        "data_loaders has a split of its own, 'valid': did you mean 'val'?"
    ]


def test_an_empty_loader_for_training(tmp_path):
    for loader, text in (
        (DataLoader(Points(0), 4), 'Points has 0 samples'),
        (DataLoader(Points(3), 4, drop_last=True), 'drop_last=True drops its 3 samples'),
    ):
        one = engine(tmp_path, data_loaders={'train': loader})
        with pytest.raises(ValueError, match=rf"data_loaders\['train'\] is empty: {text}"):
            one.launch()


class Stream(torch.utils.data.IterableDataset):
    """The points in their order, without a length."""

    def __init__(self, size):
        self.points = Points(size)
        self.evaluate = self.points.evaluate

    def __iter__(self):
        return (self.points[index] for index in range(len(self.points)))


def test_a_loader_for_training_without_a_length(tmp_path):
    with pytest.raises(TypeError, match=r"data_loaders\['train'\] has no length: Stream has no"):
        engine(tmp_path / 'w', data_loaders={'train': DataLoader(Stream(8), 4)})
    assert not os.path.exists(tmp_path / 'w')


@pytest.mark.parametrize('loop', ['auto', 'stock'])
def test_a_loader_for_validation_without_a_length(tmp_path, loop, monkeypatch):
    """The same results as of one that has a length, and in tests as well."""
    monkeypatch.setenv('NNCORE_COMPAT_LOOP', loop)
    found = []
    for data in (Points(10), Stream(10)):
        folder = tmp_path / type(data).__name__
        one = engine(
            folder,
            data_loaders={'train': DataLoader(Points(10), 4), 'val': DataLoader(data, 4)},
            stages=stage(epochs=2, validation={'interval': 1}),
            hooks=[{'type': 'EvalHook', 'high_keys': ['acc']}],
        )
        one.launch()
        rows = [json.loads(line) for line in (folder / 'metrics.json').read_text().splitlines()]
        rows = [{k: v for k, v in row.items() if 'time' not in k} for row in rows]
        (log,) = folder.glob('*.log')
        lines = [line for line in log.read_text().splitlines() if '(val)' in line]
        found.append([rows, [line.partition('Epoch')[2] for line in lines], one.launch(eval='val')])
    assert found[0] == found[1]
    assert '[3] loss' in found[0][1][0]


def test_a_validation_without_batches(tmp_path, caplog):
    """It is said, and training goes on; there is nothing that could be the best."""
    loaders = {'train': DataLoader(Points(4), 4), 'val': DataLoader(Points(0), 4)}
    one = engine(
        tmp_path,
        data_loaders=loaders,
        stages=stage(epochs=2, validation={'interval': 1}),
        hooks=[
            {'type': 'EvalHook', 'high_keys': ['acc']},
            {'type': 'CheckpointHook', 'save_best': 'acc'},
        ],
        logger=logging.getLogger('nothing'),
    )
    one.launch()
    texts = [record.getMessage() for record in caplog.records if record.levelname == 'WARNING']
    assert texts.count("data_loaders['val'] is empty: no batch in val mode") == 1
    assert texts.count('Nothing to evaluate: there was no batch in val mode') == 2
    assert one.epoch == 2 and not (tmp_path / 'best_acc.pth').exists()
    assert one.launch(eval='val') == {'val': {}}


def test_a_model_without_values(tmp_path):
    with torch.device('meta'):
        whole = Net()
    part = Net()
    part.extra = torch.nn.Linear(2, 2, device='meta')
    for model, names in (
        (whole, 'fc.weight, fc.bias are'),
        (part, 'extra.weight, extra.bias are'),
    ):
        one = engine(tmp_path, model)
        for kwargs in ({}, {'eval': True}):
            with pytest.raises(ValueError, match=rf"Net: {names} on the device 'meta'.*to_empty"):
                one.launch(**kwargs)
    whole.to_empty(device='cpu')
    torch.nn.init.zeros_(whole.fc.weight), torch.nn.init.zeros_(whole.fc.bias)
    engine(tmp_path, whole).launch()


def test_a_model_on_several_devices():
    cpu, one, other = (torch.device(name) for name in ('cpu', 'cuda:0', 'cuda:1'))
    check_devices([('a', cpu), ('b', one), ('c', one)], 'Net')
    with pytest.raises(ValueError, match=r'Net are on several devices \(2 on cuda:0, 1 on cuda:1'):
        check_devices([('a', one), ('b', other), ('c', one)], 'Net')


def test_nothing_to_train(tmp_path, caplog):
    class Fixed(torch.nn.Module):
        def forward(self, data, mode):
            return {'loss': data['x'].sum(), '_avg_factor': 1}

    with pytest.raises(ValueError, match=r'stages\[0\]\.optimizer: .* Fixed has no parameters'):
        engine(tmp_path, Fixed()).launch()
    frozen = Net()
    frozen.requires_grad_(False)
    with pytest.raises(ValueError, match=r'stages\[0\]\.optimizer: all 2 parameters .* frozen'):
        engine(tmp_path, frozen).launch()
    logger = logging.getLogger('trained')
    for params, text in (([], 'no parameters'), (Net().parameters(), 'none that are its')):
        optimizer = torch.optim.SGD([{'params': list(params)}], lr=0.1)
        engine(tmp_path, stages=stage(optimizer=optimizer), logger=logger).launch()
        assert f'stages[0].optimizer has {text}: the model Net is not' in caplog.text


def test_a_user_without_a_name(tmp_path, monkeypatch, caplog):
    """As in a container that runs under any number."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(getpass, 'getuser', lambda: {}[os.getuid()])
    engine(tmp_path, logger=logging.getLogger('nobody')).launch()
    assert f'host: {os.getuid()}@' in caplog.text
