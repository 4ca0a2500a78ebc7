import http.server
import os
import sys
import threading
import types
from functools import partial

import pytest
import torch
from oracle import both, run
from torch import nn

from nncore_compat import (
    _nncore,
    generate_random_seed,
    get_checkpoint,
    load_checkpoint,
    save_checkpoint,
    set_random_seed,
    utils,
)
from nncore_compat.builder import DATASETS

SEEDS = """
import random
import numpy as np
import torch
result = []
for seed in (0, 7, 2**31):
    used = E.set_random_seed(seed, benchmark=seed == 7, deterministic=seed != 7)
    cudnn = torch.backends.cudnn
    draws = [random.random(), float(np.random.rand()), torch.rand(2).tolist()]
    result.append([used, *draws, cudnn.benchmark, cudnn.deterministic])
"""


def test_seeding_is_as_in_nncore():
    real, ours = both(SEEDS)
    assert ours == real
    assert real[0][1:4] != real[1][1:4]


def test_new_seeds_have_eight_digits_and_differ():
    seeds = {generate_random_seed() for _ in range(20)} | {generate_random_seed(sync=False)}
    assert len(seeds) == 21
    assert all(len(str(seed)) == 8 for seed in seeds)


def test_a_new_seed_is_returned_and_used():
    seed = set_random_seed(src=0)
    first = torch.rand(3)
    assert set_random_seed(seed) == seed
    assert torch.equal(torch.rand(3), first)


def test_datasets_is_the_registry_of_the_builder():
    assert utils.DATASETS is DATASETS


MODELS = """
import io
from collections import OrderedDict
from contextlib import redirect_stdout
import torch
from torch import nn

def model(features=3, **more):
    torch.manual_seed(features)
    parts = OrderedDict(head=nn.Linear(2, features), norm=nn.BatchNorm1d(features))
    parts.update(more)
    return nn.Sequential(parts)

class Wrapped(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

def state(module):
    return {k: v.tolist() for k, v in module.state_dict().items()}

source = model()
weights = source.state_dict()
CASES = {
    'same': (model(), weights, {}),
    'checkpoint': (model(), {'meta': {}, 'state_dict': weights}, {}),
    'wrapped model': (Wrapped(model()), weights, {}),
    'wrapped weights': (model(), Wrapped(source).state_dict(), {}),
    'both wrapped': (Wrapped(model()), {'state_dict': Wrapped(source).state_dict()}, {}),
    'keys': (model(), weights, {'keys': ['head', 'norm.weight']}),
    'half a name': (model(), weights, {'keys': ['he', 'norm.wei']}),
    'shapes': (model(features=4), weights, {}),
    'missing': (model(tail=nn.Linear(3, 1)), weights, {}),
    'unexpected': (model(), {**weights, 'tail.weight': weights['head.bias'], 'x': 1}, {}),
    'old norm': (model(), {k: v for k, v in weights.items() if 'num_b' not in k}, {}),
    'quiet': (model(features=4), weights, {'warning': False}),
    'strict': (model(), weights, {'strict': True}),
    'shared': (nn.Sequential(*[nn.Linear(2, 2)] * 2), {'0.weight': torch.ones(2, 2)}, {}),
}
result = {}
for name, (target, checkpoint, arguments) in CASES.items():
    out = io.StringIO()
    with redirect_stdout(out):
        returned = E.load_checkpoint(target, checkpoint, **arguments)
    result[name] = [returned is target, state(target), out.getvalue()]
"""


def test_weights_and_warnings_are_as_in_nncore():
    real, ours = both(MODELS)
    assert sum(bool(text) for _, _, text in real.values()) == 6
    assert 'size mismatch' in real['shapes'][2]
    assert ours == real


FILES = """
import os, sys
import torch
from torch import nn

folder = os.environ['FOLDER']
torch.manual_seed(1)
model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
names = ['real', 'ours']
mine = names[E.__name__ == 'nncore_compat']
other = names[E.__name__ != 'nncore_compat']

if os.environ['STEP'] == 'write':
    E.load_checkpoint(model, {'0.weight': torch.rand(2, 2)}, warning=False)
    model(torch.rand(4, 2)).square().sum().backward()
    optimizer.step()
    meta = {'epoch': 3, 'stages': [{'epochs': 1}]}
    saved = E.save_checkpoint(model, f'{folder}/a/b/{mine}.pth', optimizer=optimizer, meta=meta)
    bare = E.save_checkpoint(nn.DataParallel(model), f'{folder}/{mine}_bare.pth')
    result = [sorted(meta), meta['nncore_version'], len(meta['create_time'])]
    result += [sorted(saved), sorted(bare), sorted(bare['meta']), list(bare['state_dict'])]
    result.append(saved['state_dict']['0.weight'].tolist())
else:
    checkpoint = E.get_checkpoint(f'{folder}/a/b/{other}.pth', map_location='cpu')
    E.load_checkpoint(model, f'{folder}/{other}_bare.pth', strict=True)
    assert torch.equal(model[0].weight, checkpoint['state_dict']['0.weight'])
    optimizer.load_state_dict(checkpoint['optimizer'])
    checkpoint['meta'].pop('create_time')
    moments = [v.tolist() for s in optimizer.state_dict()['state'].values() for v in s.values()]
    result = [checkpoint['meta'], model[0].weight.tolist(), moments]
    result += [optimizer.param_groups[0]['lr'], sorted(checkpoint)]
    result.append(type(checkpoint['state_dict']).__name__)
"""


def test_each_side_reads_the_others_files(tmp_path):
    real, ours = both(FILES, FOLDER=str(tmp_path), STEP='write')
    assert ours == real
    assert real[:2] == [['create_time', 'epoch', 'nncore_version', 'stages'], '0.4.7']
    real, ours = both(FILES, FOLDER=str(tmp_path), STEP='read')
    assert ours == real
    assert len(real[2]) == 12


@pytest.mark.parametrize(
    ('version', 'new'),
    [(None, False), ('0.3.2', False), ('0.4.0', False), ('0.4.1', True), ('0.4.7', True)],
)
def test_what_load_checkpoint_returns_follows_the_installed_version(monkeypatch, version, new):
    monkeypatch.setattr(_nncore, 'version', lambda: version)
    model = nn.Linear(1, 1)
    checkpoint = {'state_dict': model.state_dict()}
    assert load_checkpoint(model, checkpoint) is (model if new else checkpoint)


def test_the_version_saved_without_nncore(monkeypatch, tmp_path):
    monkeypatch.setattr(_nncore, 'version', lambda: None)
    assert save_checkpoint(nn.Linear(1, 1), tmp_path / 'a.pth')['meta']['nncore_version'] == '0.4.7'


def test_what_does_not_fit_strictly_is_readable():
    model = nn.Linear(2, 3)
    with pytest.raises(RuntimeError) as error:
        load_checkpoint(model, {'weight': torch.ones(3, 3), 'more': torch.ones(1)}, strict=True)
    lines = str(error.value).splitlines()
    assert lines[0] == 'error in loading state dict for Linear:'
    assert lines[1] == '\tThe model and loaded state dict do not match exactly'
    assert 'size mismatch for weight' in lines[2]
    assert lines[3:] == [
        '\tUnexpected keys in source state dict: more',
        '\tMissing keys in source state dict: bias',
    ]


@pytest.mark.parametrize('checkpoint', [None, 3, [1], {'state_dict': 3}, nn.Linear(1, 1)])
def test_no_weights(checkpoint):
    with pytest.raises(RuntimeError, match='no state dict found'):
        load_checkpoint(nn.Linear(1, 1), checkpoint)


def test_one_key_may_be_a_text():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    ones = {name: torch.ones_like(w) for name, w in model.state_dict().items()}
    load_checkpoint(model, ones, keys='1', warning=False)
    assert model[1].weight.item() == 1 and model[0].weight.item() != 1


def _damaged(name, tmp_path):
    path = tmp_path / f'{name}.pth'
    torch.save({'state_dict': {'weight': torch.ones(100)}}, path)
    content = path.read_bytes()
    path.write_bytes({'empty': b'', 'text': b'hello', 'half': content[: len(content) // 2]}[name])
    return path


@pytest.mark.parametrize('name', ['empty', 'text', 'half'])
def test_damaged_files_are_named(name, tmp_path):
    path = _damaged(name, tmp_path)
    with pytest.raises(RuntimeError, match=f"cannot read checkpoint '{path}': it is"):
        get_checkpoint(str(path))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        get_checkpoint(str(tmp_path / 'none.pth'))


def test_code_in_a_file_runs_only_when_asked(tmp_path):
    torch.save({'call': os.getcwd}, tmp_path / 'code.pth')
    with pytest.raises(RuntimeError, match=r'code\.pth.*posix\.getcwd.*weights_only=False'):
        get_checkpoint(str(tmp_path / 'code.pth'))
    assert get_checkpoint(tmp_path / 'code.pth', weights_only=False) == {'call': os.getcwd}


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'model.pth'
    save_checkpoint(nn.Linear(1, 1), path, meta={'old': True})

    def fail(data, file):
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(nn.Linear(1, 1), path)
    assert torch.load(path)['meta']['old']
    assert os.listdir(tmp_path) == ['model.pth']


def test_saving_over_a_link_keeps_the_link(tmp_path):
    (tmp_path / 'latest.pth').symlink_to('epoch_1.pth')
    save_checkpoint(nn.Linear(1, 1), tmp_path / 'latest.pth')
    assert (tmp_path / 'latest.pth').is_symlink()
    assert sorted(torch.load(tmp_path / 'epoch_1.pth')) == ['meta', 'state_dict']


def test_a_saved_file_has_the_usual_permissions(tmp_path):
    (tmp_path / 'plain').touch()
    save_checkpoint(nn.Linear(1, 1), tmp_path / 'model.pth')
    assert (tmp_path / 'model.pth').stat().st_mode == (tmp_path / 'plain').stat().st_mode


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/www and counts what is asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    www = tmp_path / 'www'
    www.mkdir()
    torch.save({'weight': torch.ones(1, 1)}, www / 'model.pth')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    for proxy in ('http_proxy', 'HTTP_PROXY'):
        monkeypatch.delenv(proxy, raising=False)
    served = http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(www)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{served.server_port}/', asked
    served.shutdown()
    served.server_close()


def test_a_url_is_downloaded_once(server, capsys):
    url, asked = server
    for _ in range(2):
        checkpoint = get_checkpoint(url + 'model.pth', map_location='meta', progress=False)
    assert checkpoint['weight'].device.type == 'meta'
    assert asked == ['/model.pth']


def test_files_of_one_name_are_told_apart(server, tmp_path):
    url, _ = server
    (tmp_path / 'www' / 'other').mkdir()
    torch.save({'weight': torch.zeros(1, 1)}, tmp_path / 'www' / 'other' / 'model.pth')
    assert get_checkpoint(url + 'model.pth', progress=False)['weight'].item() == 1
    assert get_checkpoint(url + 'other/model.pth', progress=False)['weight'].item() == 0


def test_half_a_download_is_named_and_not_kept(server, tmp_path):
    url, _ = server
    whole = (tmp_path / 'www' / 'model.pth').read_bytes()
    (tmp_path / 'www' / 'model.pth').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError, match=f"cannot read checkpoint '{url}model.pth'"):
        get_checkpoint(url + 'model.pth', progress=False)
    (tmp_path / 'www' / 'model.pth').write_bytes(whole)
    assert get_checkpoint(url + 'model.pth', progress=False)['weight'].item() == 1
    with pytest.raises(RuntimeError, match=f"cannot read checkpoint '{url}none.pth'.*404"):
        get_checkpoint(url + 'none.pth', progress=False)


def test_torchvision_weights_come_from_its_weights_api(server, monkeypatch):
    url, asked = server
    models = types.ModuleType('torchvision.models')

    class Weights:
        def __init__(self, name):
            self.url = f'{url}model.pth?{name}'

    enum = types.SimpleNamespace(IMAGENET1K_V1=Weights('v1'), DEFAULT=Weights('v2'))

    def known(name, found):
        if name not in ('resnet18', 'ResNet18_Weights.IMAGENET1K_V2'):
            raise ValueError(f'Unknown model {name}')
        return found

    models.get_model_weights = lambda name: known(name, enum)
    models.get_weight = lambda name: known(name, enum.DEFAULT)
    models.list_models = lambda module: ['resnet18', 'resnet34']
    vision = types.ModuleType('torchvision')
    vision.models = models
    monkeypatch.setitem(sys.modules, 'torchvision', vision)
    monkeypatch.setitem(sys.modules, 'torchvision.models', models)

    get_checkpoint('torchvision://resnet18', progress=False, file_name='a.pth')
    name = 'torchvision://ResNet18_Weights.IMAGENET1K_V2'
    model = nn.Linear(1, 1, bias=False)
    load_checkpoint(model, name, progress=False, file_name='b.pth')
    assert asked == ['/model.pth?v1', '/model.pth?v2']
    assert model.weight.item() == 1
    with pytest.raises(ValueError, match="no model 'resnet19': did you mean 'resnet18'"):
        get_checkpoint('torchvision://resnet19')


def test_torchvision_is_only_missed_when_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(ImportError, match='torchvision://resnet18.*pip install torchvision'):
        get_checkpoint('torchvision://resnet18')


TWO_PROCESSES = """
import os, tempfile
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

def work(rank, folder):
    meet = f'file://{folder}/meet'
    dist.init_process_group('gloo', init_method=meet, rank=rank, world_size=2)
    seeds = [E.generate_random_seed(), E.generate_random_seed(src=1), E.set_random_seed()]
    seeds.append(E.generate_random_seed(sync=False))
    try:
        E.load_checkpoint(torch.nn.Linear(1, 1), {}, strict=True)
    except RuntimeError as error:
        seeds.append(str(error))
    torch.save(seeds, f'{folder}/{rank}')
    dist.destroy_process_group()

if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder,), nprocs=2)
        result = [torch.load(f'{folder}/{rank}') for rank in (0, 1)]
"""


def test_two_processes_share_a_seed_and_both_fail_strictly():
    first, second = run('ours', TWO_PROCESSES)
    assert first[:3] == second[:3]
    assert first[3] != second[3]
    assert first[4] == second[4] and 'Missing keys' in first[4]
