"""The editor at the other end of basedpyright's language server."""

import json
import subprocess
import sys
import threading

COMMAND = [sys.executable, '-c', 'from basedpyright.langserver import main; main()', '--stdio']
# Seconds after which the server counts as hanging and is killed; it needs a tenth of it.
LIMIT = 120


class LanguageServer:
    """Answers what an editor asks about a file.

    Args:
        folder: The folder that is opened.
        python: The interpreter whose packages the files see.
    """

    def __init__(self, folder, python):
        self._python = str(python)
        self._requests = 0
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._alarm = threading.Timer(LIMIT, self._process.kill)
        self._alarm.start()
        uri = folder.as_uri()
        self._ask(
            'initialize',
            processId=None,
            rootUri=uri,
            workspaceFolders=[dict(uri=uri, name='project')],
            capabilities=dict(
                workspace=dict(configuration=True, workspaceFolders=True),
                textDocument=dict(hover=dict(contentFormat=['markdown'])),
            ),
        )
        self._tell('initialized')

    def open(self, path):
        """Open a file as an editor does."""
        self._text, self._uri = path.read_text(), path.as_uri()
        document = dict(uri=self._uri, languageId='python', version=1, text=self._text)
        self._tell('textDocument/didOpen', textDocument=document)

    def hover(self, words):
        """What is shown for the end of some words, where they first stand in the file."""
        found = self._ask('textDocument/hover', **self._at(words, -1))
        return found['contents']['value'] if found else ''

    def complete(self, words):
        """The names that are offered behind some words."""
        found = self._ask('textDocument/completion', **self._at(words, 0))
        return [item['label'] for item in found['items']]

    def close(self):
        self._ask('shutdown')
        self._tell('exit')
        self._process.wait()
        self._alarm.cancel()
        self._process.stdin.close()
        self._process.stdout.close()

    def _at(self, words, shift):
        end = self._text.index(words) + len(words) + shift
        line = self._text.count('\n', 0, end)
        position = dict(line=line, character=end - (self._text.rfind('\n', 0, end) + 1))
        return dict(textDocument=dict(uri=self._uri), position=position)

    def _ask(self, method, **params):
        self._requests += 1
        self._send(id=self._requests, method=method, params=params or None)
        while True:
            message = self._receive()
            if message.get('id') == self._requests and 'method' not in message:
                return message['result']
            if 'id' in message:
                self._send(id=message['id'], result=self._answer(message))

    def _answer(self, message):
        if message['method'] != 'workspace/configuration':
            return None
        settings = dict(python=dict(pythonPath=self._python))
        return [settings.get(item.get('section')) for item in message['params']['items']]

    def _tell(self, method, **params):
        self._send(method=method, params=params)

    def _send(self, **message):
        body = json.dumps(dict(jsonrpc='2.0', **message)).encode()
        self._process.stdin.write(b'Content-Length: %d\r\n\r\n%s' % (len(body), body))
        self._process.stdin.flush()

    def _receive(self):
        length = None
        for line in iter(self._process.stdout.readline, b'\r\n'):
            if not line:
                raise RuntimeError(f'the language server has ended, or hung for {LIMIT} s')
            if line.lower().startswith(b'content-length:'):
                length = int(line.partition(b':')[2])
        return json.loads(self._process.stdout.read(length))
