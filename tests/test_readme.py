"""What README.md promises."""

import json
import re
from pathlib import Path

from nncore_compat import _options
from nncore_compat._lightning.requirements import UNSUPPORTED
from nncore_compat._lightning.strategy import StrategyRegistry
from nncore_compat.quirks import QUIRKS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text()


def command(name):
    """The fenced block that .ci/run runs under this name."""
    (block,) = re.findall(rf'^<!-- {name} -->\n```bash\n(.*?)^```$', README, re.M | re.S)
    return block


def test_table_of_quirks():
    table = README.partition('<!-- quirks -->\n')[2].partition('\n\n')[0].splitlines()
    rows = [tuple(cell.strip() for cell in row.strip('|').split('|')) for row in table[2:]]
    assert rows == [(f'`{name}`', text) for name, text in QUIRKS.items()]


def test_commands_are_those_that_ci_runs():
    ci = (ROOT / '.ci' / 'run').read_text()
    marked = re.findall(r'^<!-- (\w+) -->\n```bash', README, re.M)
    assert sorted(re.findall(r'^run (\w+)', ci, re.M)) == sorted(marked)
    for name in ('example', 'tests'):
        assert command(name).startswith('python3 -m venv .venv &&\n')
        assert ' -c constraints.txt ' in command(name)
    assert command('example').endswith('-m nncore_compat examples/digits.py\n')
    assert command('tests').endswith('-m pytest -n 2 --dist loadfile\n')


def test_links_lead_somewhere():
    targets = [t for t in re.findall(r'\]\(([^)]+)\)', README) if '://' not in t]
    assert 'docs/digits.png' in targets
    headings = re.findall(r'^#+ (.*)$', README, re.M)
    anchors = {'#' + re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-') for text in headings}
    places = [target for target in targets if target not in anchors]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_table_of_refused_callbacks():
    (row,) = re.findall(r'^\| (.*) \| refused, with what to use \|$', README, re.M)
    assert row.split(', ') == list(UNSUPPORTED)


def test_options_and_strategies_of_the_tables_exist():
    text = README.partition('## Running anywhere')[2].partition('\n## ')[0]
    rows = {row.split(' | ')[0].strip('| '): row for row in text.splitlines() if row[:1] == '|'}
    named = set(re.findall(r'`([a-z_0-9]+)`', rows['strategies'])) - {'deepspeed', 'xla'}
    assert {'ddp', 'fsdp2', 'fsdp', 'deepspeed_stage_2'} <= named <= set(StrategyRegistry)
    for option in re.findall(r'--(?:accelerator|devices|num-nodes|strategy|precision)', README):
        assert option in _options.OPTIONS


def test_table_of_compatibility():
    """It has what was noted of each row of the matrix, and what the whole suite runs with."""
    text = README.partition('## Compatibility')[2].split('\n\n')[1]
    table = [[cell.strip() for cell in row.strip('|').split('|')] for row in text.splitlines()[2:]]
    told = {name.partition(',')[0].lower(): set(cell.split(', ')) for name, _, cell in table}
    suite = dict(re.findall(r'^([\w-]+)==(\S+)', (ROOT / 'constraints.txt').read_text(), re.M))
    suite['python'] = '3.11'
    rows = json.loads((ROOT / 'docs' / 'compatibility.json').read_text()).values()
    expected = {name: {suite[name]} for name in ('python', 'torch', 'lightning', 'nncore')}
    for row in rows:
        failed, passed = row.get('failed', 0), row['passed']
        alike = f' ({passed} of {passed + failed} scripts alike)' if failed else ''
        for name, versions in expected.items():
            version = (row[name] or 'none').partition('+')[0]
            version = version.rpartition('.')[0] if name == 'python' else version
            versions.add(version + alike if version != suite[name] else version)
    assert told == expected
