"""The pages that are made of files of the project, and the navigation: a hook of mkdocs.

The README is the guide, a page for each of its sections; examples, command line, quirks and the
changelog become pages too. Links between files of the project become links between pages, and a
file that has no page of its own gets one where something links to it.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import reference
from markdown.extensions.toc import slugify
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# Sections of the README with fewer characters than this stay on the first page.
SHORT = 300
LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.toml': 'toml', '.json': 'json'}
FENCE = re.compile(r'^( *`{3,}).*?^\1`* *$', re.M | re.S)


def on_files(files: Files, *, config: Any) -> Files:
    """Called by mkdocs when it has found what lies in docs/."""
    site = Site()
    config.nav = site.build()
    for path, text in site.pages.items():
        old = files.get_file_from_path(path)
        if old is not None:
            files.remove(old)
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html: str, *, page: Any, **kwargs: Any) -> str:
    """Called by mkdocs with the HTML of a page: examples lead to what they begin with."""
    if not page.file.src_uri.startswith('api/'):
        return html
    start = posixpath.relpath('api/index.html', posixpath.dirname(page.file.src_uri))
    link = f'<a class="begin" href="{start}#{reference.BEGIN}">after these lines</a>'
    title = '<span class="doc-section-title">Examples:</span>'
    return html.replace(title, f'<span class="doc-section-title">Examples</span> {link}')


class Site:
    """The pages, by their paths."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        # The pages of the project's files, and of the headings of its README.
        self.homes = {'README.md': 'index.md', 'CHANGELOG.md': 'changelog.md'}
        self.headings: dict[str, str] = {}

    def build(self) -> list[Any]:
        """Make the pages and return the navigation."""
        measured = [path.name for path in sorted(ROOT.glob('docs/*.md'), reverse=True)]
        self.homes.update((f'docs/{name}', name) for name in measured)
        examples = [f'examples/{path.name}' for path in sorted(ROOT.glob('examples/*'), key=order)]
        examples = [name for name in examples if is_shown(ROOT / name)]
        self.homes.update((name, f'{name.removesuffix(".md")}.md') for name in examples)
        if 'examples/README.md' in examples:
            self.homes['examples/README.md'] = 'examples/index.md'
        self.pages.update(reference.pages())
        navigation = [
            {'Home': 'index.md'},
            {'Guide': self.guide()},
            {'Examples': self.examples(examples)},
            {'Command line': reference.COMMAND_LINE},
            {'API': reference.API},
            {'Measured': measured},
            {'Changelog': 'changelog.md'},
        ]
        for name, page in list(self.homes.items()):
            if page not in self.pages:
                self.show(name, page)
        return navigation

    def guide(self) -> list[Any]:
        """Cut the README into its sections, a page each."""
        front, *sections = sections_of(read(ROOT / 'README.md'))
        texts, titles = {'index.md': front}, {}
        for section in sections:
            title = plain(section.partition('\n')[0])
            page = f'guide/{slugify(title, "-")}.md' if len(section) > SHORT else 'index.md'
            for heading in re.findall(r'^##+ .*$', section, re.M):
                self.headings[slugify(plain(heading), '-')] = page
            if page != 'index.md':
                titles[page] = title
                section = outside_code(lambda part: re.sub('^##', '#', part, flags=re.M), section)
            texts[page] = texts.get(page, '') + section
        table = cards(
            (title, f'#{slugify(title, "-")}', texts[page]) for page, title in titles.items()
        )
        texts['index.md'] = (
            f'{front}\n## Where to go on\n\n{table}\n{texts["index.md"][len(front) :]}'
        )
        for page, text in texts.items():
            self.add(page, text, 'README.md')
        return [{title: page} for page, title in titles.items()]

    def examples(self, names: list[str]) -> list[Any]:
        """List the examples, by their own README or with the first sentence of each."""
        others = [name for name in names if name != 'examples/README.md']
        if others == names:
            rows = [(Path(name).name, f'../{name}', read_first(ROOT / name)) for name in names]
            self.add('examples/index.md', f'# Examples\n\n{cards(rows)}', 'examples/index.md')
        return ['examples/index.md', *({Path(name).name: self.homes[name]} for name in others)]

    def show(self, name: str, page: str) -> None:
        """Make the page of a file or folder."""
        path = ROOT / name
        if not path.exists():
            raise FileNotFoundError(f'a link leads to {name}, which is not there')
        if path.suffix == '.md':
            self.add(page, read(path), name)
        elif path.is_file():
            self.add(page, f'# {path.name}\n\n{read_first(path)}\n\n{code(path)}', name)
        else:
            parts = [f'# {path.name}\n']
            for file in sorted(filter(is_shown, path.rglob('*')), key=order):
                if file == path / 'README.md':
                    parts[0] = read(file)
                elif file.is_file():
                    parts.append(f'## {file.relative_to(path).as_posix()}\n\n{code(file)}')
            self.add(page, '\n\n'.join(parts), f'{name}/README.md')

    def add(self, page: str, text: str, source: str) -> None:
        """Add a page, whose links are those of the file that it was written in."""
        self.pages[page] = ''  # it may link to itself
        self.pages[page] = outside_code(lambda part: self.lead(part, source, page), text)

    def lead(self, text: str, source: str, page: str) -> str:
        """Lead the links between files to pages."""

        def replaced(match: re.Match[str]) -> str:
            before, target, after = match.groups()
            if ':' in target:
                return match.group()
            path, mark, anchor = target.partition('#')
            name = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
            home = self.home(name if path else source, anchor)
            return (
                f'{before}{posixpath.relpath(home, posixpath.dirname(page))}{mark}{anchor}{after}'
            )

        text = re.sub(r'(\]\()([^)\s]+)(\))', replaced, text)
        return re.sub(r'((?:src|srcset|href)=")([^"]+)(")', replaced, text)

    def home(self, name: str, anchor: str) -> str:
        """Return the page of a file or folder, which is made where there is none."""
        if name == 'README.md':
            return self.headings.get(anchor, 'index.md')
        if name not in self.homes:
            if name.startswith('docs/') and not name.endswith(('.md', '.py')):
                return name.removeprefix('docs/')
            self.homes[name] = f'source/{name.removesuffix(".md")}.md'
            self.show(name, self.homes[name])
        return self.homes[name]


def read(path: Path) -> str:
    return path.read_text(encoding='utf-8')


def read_first(path: Path) -> str:
    """Return what a file says first about itself."""
    if path.is_dir():
        path = path / 'README.md'
    if not path.is_file():
        return ''
    if path.suffix == '.py':
        return (ast.get_docstring(ast.parse(read(path))) or '').partition('\n\n')[0]
    return teaser(read(path)) if path.suffix == '.md' else ''


def code(path: Path) -> str:
    return f'`````{LANGUAGES.get(path.suffix, "text")}\n{read(path).rstrip()}\n`````\n'


def is_shown(path: Path) -> bool:
    """Whether a file is text, and not what a run has left behind."""
    if path.is_dir():
        return not path.name.startswith(('.', '_')) and any(map(is_shown, path.rglob('*.*')))
    return path.suffix in ('.md', '.txt', *LANGUAGES) and 'work_dirs' not in path.parts


def order(path: Path) -> tuple[bool, str]:
    return path.name != 'README.md', path.as_posix()


def outside_code(function: Callable[[str], str], text: str) -> str:
    """Change all of a text but its fenced code."""
    done, parts = 0, []
    for fence in FENCE.finditer(text):
        parts += [function(text[done : fence.start()]), fence.group()]
        done = fence.end()
    return ''.join([*parts, function(text[done:])])


def sections_of(text: str) -> list[str]:
    """Cut a text before each heading of the second level."""
    # A line of code may look like one.
    hidden = FENCE.sub(lambda match: re.sub('^#', ' ', match.group(), flags=re.M), text)
    starts = [match.start() for match in re.finditer('^## ', hidden, re.M)]
    return [text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True)]


def plain(text: str) -> str:
    return re.sub(r'[*`]|\]\([^)]*\)|\[|<[^>]*>', '', text).lstrip('# ').strip()


def teaser(text: str) -> str:
    """Return the first sentence of a text."""
    for paragraph in re.split(r'\n\s*\n', FENCE.sub('', text)):
        if paragraph and paragraph.lstrip()[:1] not in ('#', '|', '<', '-', '!', '>'):
            return re.split(r'(?<=[.:!?])\s', plain(' '.join(paragraph.split())))[0].rstrip(':')
    return ''


def cards(rows: Any) -> str:
    """Lay out titles, with links and what is said of each."""
    items = [f'-   **[{title}]({link})**\n\n    {teaser(text)}\n' for title, link, text in rows]
    return '\n'.join(['<div class="grid cards" markdown>\n', *items, '</div>\n'])
