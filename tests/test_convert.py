"""Converted checkpoints, judged by what they are for: Lightning, real nncore, torch, safetensors.

All of them train the same network on the same batches, so that each can go on with the file of
another, and end with the weights of a run that was never interrupted.
"""

import functools
import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import oracle
import pytest
import torch
from fixtures.old_nncore import Net, loader
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from test_formats import QUIET, same, without
from tiny import engine
from torch import nn

from nncore_compat import _convert
from nncore_compat._prefixes import rename

FIXTURES = Path(__file__).parent / 'fixtures'
OLD = FIXTURES / 'nncore_0.3.8_epoch_1.pth'
STAGES = [{'epochs': 3, 'optimizer': {'type': 'Adam', 'lr': 0.05}}]
BATCHES = 4

needs_safetensors = pytest.mark.skipif(
    importlib.util.find_spec('safetensors') is None, reason='safetensors is not installed'
)


class Module(LightningModule):
    """What a user writes around the network."""

    def __init__(self, attribute='model'):
        super().__init__()
        self.attribute = attribute
        setattr(self, attribute, Net())

    def training_step(self, batch, batch_idx):
        return getattr(self, self.attribute)(batch, 'train')['loss']

    def validation_step(self, batch, batch_idx):
        pass

    def test_step(self, batch, batch_idx):
        self.log('loss', getattr(self, self.attribute)(batch, 'test')['loss'])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


class Start(Callback):
    """Notes with what a Trainer goes on, and what it calls."""

    def __init__(self):
        self.epochs, self.batches = [], []

    def on_train_start(self, trainer, module):
        self.at = trainer.current_epoch, trainer.global_step
        self.batch = trainer.fit_loop.total_batch_idx
        self.optimizer = pickle.loads(pickle.dumps(trainer.optimizers[0].state_dict()))
        self.weights = {name: value.clone() for name, value in module.state_dict().items()}

    def on_train_epoch_start(self, trainer, module):
        self.epochs.append(trainer.current_epoch)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch_idx)


def go_on(path, module=None, epochs=3, callbacks=(), **settings):
    """Go on with a stock Trainer; return the module and what was there at the start."""
    module, start = module or Module(), Start()
    trainer = Trainer(max_epochs=epochs, callbacks=[*callbacks, start], **{**QUIET, **settings})
    trainer.fit(module, loader(), loader(), ckpt_path=None if path is None else str(path))
    start.end = trainer.current_epoch, trainer.global_step
    start.last = trainer.optimizers[0].state_dict()
    return module, start


def convert(source, target, to, *more):
    _convert.main([str(source), str(target), '--to', to, *more])
    return target


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder of what Lightning and nncore_compat write of the same run."""
    folder = tmp_path_factory.mktemp('files')
    every = functools.partial(ModelCheckpoint, folder, save_top_k=-1)
    go_on(
        None,
        enable_checkpointing=True,
        callbacks=[
            every(filename='end_{epoch}', save_on_train_epoch_end=True),
            every(filename='val_{epoch}', save_on_train_epoch_end=False, mode='max'),
            every(filename='step_{step}', every_n_train_steps=3),
        ],
    )
    ours = engine(
        folder,
        Net(),
        STAGES,
        {'train': loader()},
        hooks=[{'type': 'CheckpointHook', 'every_n_iters': 3}],
    )
    ours.launch()
    return folder


@pytest.fixture(scope='module')
def whole():
    """The run that is never interrupted."""
    return go_on(None)


def model_of(state_dict):
    return rename(state_dict, remove='model.')


@pytest.mark.parametrize('source', ['epoch_1.pth', 'end_epoch=0.ckpt', 'val_epoch=0.ckpt'])
def test_a_stock_trainer_goes_on(files, tmp_path, whole, source):
    middle = convert(files / source, tmp_path / 'a.pth', 'nncore')
    out = convert(middle, tmp_path / 'a.ckpt', 'lightning')
    straight = convert(files / 'epoch_1.pth', tmp_path / 'b.ckpt', 'lightning')
    for path, original in ((out, source), (straight, 'epoch_1.pth')):
        module, start = go_on(path)
        assert start.at == (1, BATCHES) and start.batch == BATCHES - 1
        assert same(start.optimizer, torch.load(files / original)['optimizer_states'][0])
        assert same(model_of(start.weights), torch.load(middle)['state_dict'])
        assert start.epochs == [1, 2] and start.batches == [0, 1, 2, 3] * 2
        assert start.end == (3, 3 * BATCHES) == whole[1].end
        assert same(dict(module.state_dict()), dict(whole[0].state_dict()))
        assert same(states(start.last), states(whole[1].last))


@pytest.mark.parametrize('source', ['iter_6.pth', 'step_step=6.ckpt'])
def test_in_the_middle_of_an_epoch(files, tmp_path, capsys, source):
    middle = convert(files / source, tmp_path / 'a.pth', 'nncore')
    assert 'epoch 1 and 2 batches, iter 6' in capsys.readouterr().out
    out = convert(files / source, tmp_path / 'a.ckpt', 'lightning')
    # A stock Trainer goes on with the third batch's number, but not with its data.
    stock, at = go_on(files / 'step_step=6.ckpt')
    module, start = go_on(out)
    assert (start.at, start.end) == (at.at, at.end) == ((1, 6), (3, 12))
    assert start.epochs == at.epochs and start.batches == at.batches == [2, 3, 0, 1, 2, 3]
    assert same(start.optimizer, torch.load(middle)['optimizer'])
    assert same(dict(module.state_dict()), dict(stock.state_dict()))


def test_the_file_of_nncore_0_3(tmp_path):
    out = convert(OLD, tmp_path / 'a.ckpt', 'lightning', '--prefix', 'net.')
    file = torch.load(OLD)

    class Momentum(Module):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    module, start = go_on(out, Momentum('net'), epochs=2)
    assert start.at == (1, 4) and same(start.optimizer, file['optimizer'])
    assert same(rename(start.weights, 'net.'), dict(file['state_dict']))
    after = torch.load(FIXTURES / 'nncore_0.3.8_epoch_2.pth')
    torch.testing.assert_close(rename(module.state_dict(), 'net.'), dict(after['state_dict']))
    # Without a network of one's own, and for tests.
    loaded = Momentum.load_from_checkpoint(out, attribute='net')
    assert same(rename(loaded.state_dict(), 'net.'), dict(file['state_dict']))
    Trainer(**QUIET).test(Momentum('net'), loader(), ckpt_path=str(out), verbose=False)


NNCORE = """
    import os, sys
    import torch
    sys.path.insert(0, os.environ['TESTS'])
    from fixtures.old_nncore import Net, loader

    stages = [{'epochs': 3, 'optimizer': {'type': 'Adam', 'lr': 0.05}}]

    def run(path, name):
        model = Net()
        engine = E.Engine(
            model, {'train': loader()}, stages=stages, work_dir=name, logger=name
        )
        found = {}
        if path:
            engine.load_checkpoint(path, strict=True)
            found['loaded'] = {k: v.clone() for k, v in model.state_dict().items()}
            engine.resume(path, strict=True)
            found['optimizer'] = engine.optimizer.state_dict()
            found['at'] = engine.epoch, engine.iter
            found = {**found, 'optimizer': torch.utils._pytree.tree_map(
                lambda v: v.clone() if torch.is_tensor(v) else v, found['optimizer'])}
        engine.launch()
        return {**found, 'weights': dict(model.state_dict()), 'end': (engine.epoch, engine.iter),
                'last': engine.optimizer.state_dict()}

    result = {'': run(None, 'whole')}
    if os.environ.get('KEEP'):
        import shutil
        shutil.copy('whole/epoch_1.pth', os.environ['KEEP'])
    for name in os.environ['FILES'].split(os.pathsep):
        if name:
            result[name] = run(name, 'work' + str(len(result)))
"""


@oracle.needs_nncore
def test_real_nncore_goes_on(files, tmp_path, whole):
    sources = ['epoch_1.pth', 'end_epoch=0.ckpt', 'val_epoch=0.ckpt', 'iter_6.pth']
    targets = [tmp_path / f'{number}.pth' for number in range(len(sources))]
    for source, target in zip(sources, targets, strict=True):
        convert(files / source, target, 'nncore')
    back = tmp_path / 'back.pth'
    convert(convert(targets[0], tmp_path / 'a.ckpt', 'lightning'), back, 'nncore')
    paths = [str(path) for path in (*targets, back)]
    kept = tmp_path / 'real.pth'
    found = oracle.run(
        'real', NNCORE, TESTS=str(Path(__file__).parent), FILES=':'.join(paths), KEEP=str(kept)
    )
    end = found['']
    assert same(end['weights'], model_of(dict(whole[0].state_dict())))
    for path, source in zip(paths, [*sources, sources[0]], strict=True):
        file, original = found[path], torch.load(files / source)
        weights = original['state_dict']
        weights = model_of(weights) if source.endswith('ckpt') else dict(weights)
        assert same(file['loaded'], weights)
        assert same(file['optimizer'], original['optimizer_states'][0])
        assert file['at'] == ((1, 4) if 'iter' not in source else (1, 6))
        if 'iter' not in source:
            assert file['end'] == end['end'] == (3, 12)
            assert same(file['weights'], end['weights'])
            assert same(states(file['last']), states(end['last']))

    # And what real nncore has written goes on in Lightning.
    module, start = go_on(convert(kept, tmp_path / 'real.ckpt', 'lightning'))
    assert start.at == (1, 4)
    assert same(dict(module.state_dict()), dict(whole[0].state_dict()))
    assert same(states(start.last), states(end['last']))


def states(optimizer):
    # Lightning's have no base_lr in their groups, and nncore's have.
    return optimizer['state']


def test_our_own_engine_goes_on(files, tmp_path, whole, caplog):
    target = convert(files / 'end_epoch=1.ckpt', tmp_path / 'a.pth', 'nncore')
    # Lightning's file itself too.
    for path in (target, files / 'end_epoch=1.ckpt'):
        one = engine(tmp_path, Net(), STAGES, {'train': loader()})
        one.resume(path, strict=True)
        assert (one.epoch, one.iter) == (2, 8)
        one.launch()
        assert same(dict(one.model.state_dict()), model_of(dict(whole[0].state_dict())))
    assert 'mismatched' not in caplog.text
    one = engine(tmp_path, Net(), STAGES, {'train': loader()}, logger='middle')
    one.logger.propagate = True
    one.resume(files / 'step_step=6.ckpt')
    assert (one.epoch, one.iter) == (1, 6)
    assert 'was saved within an epoch, which begins anew' in caplog.text


def test_plain_weights(files, tmp_path, capsys):
    for source in ('epoch_2.pth', 'end_epoch=1.ckpt', 'iter_6.pth'):
        target = convert(files / source, tmp_path / 'weights.pth', 'weights', '--force')
        model = Net()
        model.load_state_dict(torch.load(target, weights_only=True), strict=True)
        original = dict(torch.load(files / source)['state_dict'])
        expected = model_of(original) if source.endswith('ckpt') else original
        assert same(dict(model.state_dict()), expected)
    capsys.readouterr()

    # From weights, what can be loaded but not resumed from; and it says so.
    for to, name in (('nncore', 'a.pth'), ('lightning', 'a.ckpt')):
        convert(target, tmp_path / name, to)
        assert 'no optimizer: can be loaded, but not resumed from' in capsys.readouterr().out
    one = engine(tmp_path, Net(), STAGES, {'train': loader()})
    one.load_checkpoint(str(tmp_path / 'a.pth'), strict=True)
    assert same(dict(one.model.state_dict()), original)
    with pytest.raises((KeyError, RuntimeError), match=r'a\.pth'):
        one.resume(tmp_path / 'a.pth')
    module = Module.load_from_checkpoint(tmp_path / 'a.ckpt')
    assert same(model_of(module.state_dict()), original)
    Trainer(**QUIET).test(Module(), loader(), ckpt_path=str(tmp_path / 'a.ckpt'), verbose=False)
    with pytest.raises(KeyError, match='contains only the model'):
        go_on(tmp_path / 'a.ckpt')


def test_averaged_weights(tmp_path):
    path = tmp_path / 'ema.ckpt'

    class Save(EMAWeightAveraging):
        def on_train_batch_end(self, trainer, module, *args):
            super().on_train_batch_end(trainer, module, *args)
            if trainer.global_step == BATCHES:
                self.kept = {k: v.clone() for k, v in module.state_dict().items()}
                trainer.save_checkpoint(path)

    average = Save(decay=0.5)
    go_on(None, epochs=1, callbacks=[average])
    file = torch.load(path)

    def weights(*more):
        return dict(torch.load(convert(path, tmp_path / 'w.pth', 'weights', '--force', *more)))

    assert same(weights(), model_of(file['state_dict'])) and same(
        weights(), weights('--which', 'average')
    )
    assert same(weights('--which', 'current'), model_of(average.kept))
    assert not same(weights(), weights('--which', 'current'))
    nncore = torch.load(convert(path, tmp_path / 'a.pth', 'nncore'))
    assert same(nncore['state_dict'], model_of(average.kept))

    # Lightning finds both again, under the other name.
    out = convert(path, tmp_path / 'net.ckpt', 'lightning', '--prefix', 'net.')
    again = torch.load(out)
    assert same(rename(again['state_dict'], 'net.'), model_of(file['state_dict']))
    _, start = go_on(out, Module('net'), epochs=2, callbacks=[EMAWeightAveraging(decay=0.5)])
    _, stock = go_on(path, epochs=2, callbacks=[EMAWeightAveraging(decay=0.5)])
    assert same(rename(start.weights, 'net.'), model_of(average.kept))
    assert same(start.last, stock.last)

    # So are those of our own files.
    hooks = [EMAWeightAveraging(decay=0.5)]
    engine(tmp_path, Net(), STAGES, {'train': loader()}, hooks=hooks).launch()
    ours = torch.load(tmp_path / 'epoch_1.pth')
    out = convert(tmp_path / 'epoch_1.pth', tmp_path / 'ours.ckpt', 'lightning')
    assert same(model_of(torch.load(out)['state_dict']), dict(ours['state_dict']))
    _, start = go_on(out, epochs=2, callbacks=[EMAWeightAveraging(decay=0.5)])
    assert start.at == (1, BATCHES)
    assert same(model_of(start.weights), dict(ours['current_model_state']))
    assert not same(dict(ours['state_dict']), dict(ours['current_model_state']))

    alone = torch.load(convert(path, tmp_path / 'one.ckpt', 'lightning', '--which', 'current'))
    assert same(alone['state_dict'], average.kept) and 'current_model_state' not in alone


class Tied(nn.Module):
    """Weights of one memory, and one that does not lie in order."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.register_buffer('turned', torch.arange(6.0).view(2, 3).T)


@needs_safetensors
def test_safetensors(files, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, load_model

    target = convert(files / 'epoch_2.pth', tmp_path / 'a.safetensors', 'weights')
    expected = dict(torch.load(files / 'epoch_2.pth')['state_dict'])
    assert same(load_file(target), expected)
    back = convert(target, tmp_path / 'back.pth', 'weights')
    assert same(dict(torch.load(back)), expected)

    tied = Tied()
    torch.save(tied.state_dict(), tmp_path / 'tied.pth')
    target = convert(tmp_path / 'tied.pth', tmp_path / 'tied.safetensors', 'weights')
    with safe_open(target, 'pt') as file:
        assert file.metadata() == {'format': 'pt', 'decoder.weight': 'encoder.weight'}
        assert 'decoder.weight' not in file.keys()  # noqa: SIM118
    other = Tied()
    with torch.no_grad():
        for value in other.state_dict().values():
            value.zero_()
    assert load_model(other, target, strict=True) == (set(), [])
    assert same(dict(other.state_dict()), dict(tied.state_dict()))
    back = torch.load(convert(target, tmp_path / 'back.pth', 'weights', '--force'))
    assert same(dict(sorted(back.items())), dict(sorted(tied.state_dict().items())))
    assert back['decoder.weight'].data_ptr() == back['encoder.weight'].data_ptr()

    # Parts of one piece of memory, which the library's own functions refuse.
    both = torch.arange(6.0)
    parts = {'left': both[:4], 'right': both[2:], 'none': both[:0], 'nothing': both[:0]}
    torch.save(parts, tmp_path / 'parts.pth')
    target = convert(tmp_path / 'parts.pth', tmp_path / 'parts.safetensors', 'weights')
    assert same(load_file(target), parts)


def test_without_safetensors(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    assert 'pip install safetensors' in refused(
        capsys, files / 'epoch_1.pth', tmp_path / 'a.safetensors', '--to', 'weights'
    )
    (tmp_path / 'a.safetensors').write_bytes(b'')
    assert 'pip install safetensors' in refused(
        capsys, tmp_path / 'a.safetensors', tmp_path / 'a.pth', '--to', 'weights'
    )


def refused(capsys, *argv):
    """Run a command that must fail, and return its one line on stderr."""
    with pytest.raises(SystemExit) as left:
        _convert.main([str(word) for word in argv])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and out == '' and err.count('\n') == 1 and 'error: ' in err
    return err


class Anything:
    pass


def test_refusals(files, tmp_path, capsys, monkeypatch):
    source, out = files / 'epoch_1.pth', tmp_path / 'out.pth'
    file = torch.load(source)
    before = source.read_bytes()
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link.pth').symlink_to(source)
    (tmp_path / 'text.pth').write_text('no checkpoint')
    (tmp_path / 'there.pth').write_text('mine')
    torch.save({'a': 1}, tmp_path / 'dict.pth')
    torch.save({**file, 'other': Anything()}, tmp_path / 'object.pth')
    gan = torch.load(files / 'end_epoch=0.ckpt')
    gan['optimizer_states'] *= 2
    torch.save(gan, tmp_path / 'gan.ckpt')
    optimizer = {'param_groups': [{'params': 1}], 'state': {}}
    torch.save({**file, 'optimizer': optimizer}, tmp_path / 'groups.pth')
    torch.save({'state_dict': {0: torch.zeros(1)}}, tmp_path / 'keys.pth')
    torch.save({'state_dict': {'a': torch.zeros(1)}, 'meta': 5}, tmp_path / 'meta.pth')
    for argv, words in (
        ((tmp_path / 'groups.pth', out), 'params must be a list, got 1'),
        ((tmp_path / 'keys.pth', out), 'not formed like a checkpoint: AttributeError'),
        ((tmp_path / 'no.pth', out), "no '"),
        ((source, source), 'are the same'),
        ((source, tmp_path / 'link.pth', '--force'), 'are the same'),
        ((source, tmp_path / 'folder', '--force'), 'is a folder'),
        ((source, tmp_path / 'there.pth'), '--force replaces it'),
        ((source, tmp_path / 'text.pth' / 'a.pth'), 'no folder'),
        ((tmp_path / 'folder', out), "a folder is a checkpoint if it has a '.metadata'"),
        ((tmp_path / 'text.pth', out), 'text.pth'),
        ((tmp_path / 'dict.pth', out), "the keys ['a']"),
        ((tmp_path / 'object.pth', out), '--trust'),
        ((tmp_path / 'gan.ckpt', out), "gan.ckpt': it has the states of 2 optimizers"),
        ((source, out, '--which', 'average'), 'no averaged weights'),
        ((source, out, '--prefix', 'net.'), "begin with 'net.': layers.0.weight"),
        ((source, tmp_path / 'out.safetensors'), 'use --to weights'),
    ):
        assert words in refused(capsys, *argv, '--to', 'nncore'), argv
        assert not out.exists()
    assert source.read_bytes() == before and (tmp_path / 'there.pth').read_text() == 'mine'
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith('.tmp')] == []

    convert(tmp_path / 'object.pth', out, 'nncore', '--trust')
    assert same(torch.load(out)['optimizer'], file['optimizer'])
    convert(tmp_path / 'meta.pth', out, 'nncore', '--force')
    assert list(torch.load(out)['meta']) == ['nncore_version', 'create_time']
    convert(source, tmp_path / 'there.pth', 'weights', '--force')
    assert same(dict(torch.load(tmp_path / 'there.pth')), dict(file['state_dict']))


def test_what_it_says(files, tmp_path, capsys):
    out = convert(files / 'epoch_2.pth', tmp_path / 'a.ckpt', 'lightning')
    size = out.stat().st_size
    assert capsys.readouterr().out == (
        f'{out}: lightning checkpoint, 9 tensors, 30 values, epoch 2, iter 8, {size:,} bytes\n'
    )
    file = torch.load(files / 'end_epoch=0.ckpt')
    file['state_dict']['extra'] = torch.zeros(3)
    torch.save(file, tmp_path / 'extra.ckpt')
    out = convert(tmp_path / 'extra.ckpt', tmp_path / 'a.pth', 'weights', '--prefix', 'model.')
    assert '1 tensors without the prefix left out' in capsys.readouterr().out
    Net().load_state_dict(torch.load(out), strict=True)
    # All have to have it, or it is kept.
    convert(tmp_path / 'extra.ckpt', out, 'weights', '--force')
    assert set(torch.load(out)) == set(file['state_dict'])
    assert without(file, 'x') == file


def test_the_command(files, tmp_path):
    def command(*argv):
        return subprocess.run(
            [sys.executable, *argv], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )

    done = command('-m', 'nncore_compat', 'convert', '--help')
    assert done.returncode == 0 and 'examples:' in done.stdout and '--which' in done.stdout
    assert 'convert IN OUT --to' in command('-m', 'nncore_compat', '--help').stdout

    argv = '-m', 'nncore_compat', 'convert', str(files / 'epoch_1.pth'), 'a.pth', '--to'
    done = command(*argv, 'weights')
    assert done.returncode == 0 and done.stdout.startswith('a.pth: weights, 9 tensors')
    done = command(*argv, 'weights')
    assert done.returncode == 2 and done.stderr.startswith('python -m nncore_compat convert: error')
    assert command(*argv, 'onnx').returncode == 2
    # A script of this name is run as ever.
    (tmp_path / 'convert').write_text('import sys; print(sys.argv)')
    assert command(*argv, 'weights').stdout.startswith("['convert', ")
