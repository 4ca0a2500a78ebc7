"""Several processes agree after how many iterations all of them stop."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import time
from collections.abc import Callable

from . import comm

# How long a process may take to connect, and to take a line.
CONNECT = 20.0
# How long one who leaves stays to agree with the others.
FAREWELL = 5.0


class Agreement:
    """One process's part in it.

    Someone asks to stop. Each process is told, waits from then on at the end of its iteration, and
    says how many it has done: that may be one less than where it waits, never more. All stop one
    after the highest number that was said. Nobody has passed that one, and nobody waits for longer
    than a line takes to travel, because lines are read and written by a thread that shares nothing
    with the training.

    Lines go through the first process: ``stop SIGNAL``, ``at ITERATIONS``, ``until ITERATIONS``.

    Args:
        links: Connections: to all others in the first process, to that one in the others.
        first: Whether this is the first process.
        told: Called with the signal; when it returns, the training waits at its next iteration.
        count: Returns how many iterations are done.
    """

    def __init__(
        self,
        links: list[socket.socket],
        first: bool,
        told: Callable[[int], None],
        count: Callable[[], int],
    ) -> None:
        self.links = links
        self._size = len(links) + 1
        self._first = first
        self._told = told
        self._count = count
        self._said: list[int] = []
        self._begun = {link: b'' for link in links}
        # The signal that all stop for, once this process has been told.
        self.signum: int | None = None
        # After how many iterations, once all have spoken.
        self.target: int | None = None
        # Somebody was gone before that.
        self.lost = False

    def ask(self, signum: int) -> None:
        """Ask to stop for a signal; the first one that anybody asks for is everybody's."""
        if self._first:
            self._hear(b'stop', signum)
        elif self.signum is None:
            self._say('stop', signum)

    def read(self, link: socket.socket) -> None:
        """Read what has come."""
        try:
            data = link.recv(4096)
        except OSError:
            data = b''
        if not data:
            self._part(link)
            return
        *lines, self._begun[link] = (self._begun[link] + data).split(b'\n')
        for line in lines:
            word, number = line.split()
            self._hear(word, int(number))

    def leave(self) -> None:
        """Wait until all know where to stop, if anybody has asked; then hang up."""
        end = time.monotonic() + FAREWELL
        while self.signum is not None and self.target is None and not self.lost:
            left = end - time.monotonic()
            if left <= 0:
                break
            for link in select.select(self.links, [], [], left)[0]:
                self.read(link)
        self._hang_up()

    def _hear(self, word: bytes, number: int) -> None:
        if word == b'stop' and self.signum is None:
            self.signum = number
            if self._first:
                self._say('stop', number)
            self._told(number)
            done = self._count()
            if self._first:
                self._hear(b'at', done)
            else:
                self._say('at', done)
        elif word == b'at':
            self._said.append(number)
            if len(self._said) == self._size:
                self.target = 1 + max(self._said)
                self._say('until', self.target)
        elif word == b'until':
            self.target = number

    def _say(self, word: str, number: int) -> None:
        for link in tuple(self.links):
            try:
                link.sendall(f'{word} {number}\n'.encode())
            except OSError:
                self._part(link)

    def _part(self, link: socket.socket) -> None:
        if self.target is None:
            self.lost = True
            self._hang_up()
        elif link in self.links:
            self.links.remove(link)

    def _hang_up(self) -> None:
        for link in self.links:
            _close(link)
        self.links.clear()


def meet(told: Callable[[int], None], count: Callable[[], int]) -> Agreement | None:
    """Connect the processes of the run; all of them call this.

    Args:
        told, count: See :class:`Agreement`.

    Returns:
        None, to all of them, if not all could connect.
    """
    rank, size = comm.get_dist_info()
    links: list[socket.socket] = []
    if rank == 0:
        with _listen(size) as server:
            host = os.environ.get('MASTER_ADDR') or socket.gethostname()
            # Anybody may knock at a port.
            password = secrets.token_hex(16).encode()
            comm.broadcast((host, server.getsockname()[1], password))
            links = _accept(server, password, size - 1)
    else:
        host, port, password = comm.broadcast()
        links = _connect(host, port, password)
    connected = all(comm.all_gather(len(links) == (size - 1 if rank == 0 else 1)))
    for link in links:
        if connected:
            _keep_alive(link)
        else:
            _close(link)
    return Agreement(links, rank == 0, told, count) if connected else None


def _listen(size: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ('', 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=size
        )
    return socket.create_server(('', 0), backlog=size)


def _accept(server: socket.socket, password: bytes, count: int) -> list[socket.socket]:
    links: list[socket.socket] = []
    end = time.monotonic() + CONNECT
    while len(links) < count:
        server.settimeout(max(0.01, end - time.monotonic()))
        try:
            link, _ = server.accept()
        except OSError:
            break
        link.settimeout(CONNECT)
        try:
            known = link.recv(len(password), socket.MSG_WAITALL) == password
        except OSError:
            known = False
        if known:
            links.append(link)
        else:
            link.close()
    return links


def _connect(host: str, port: int, password: bytes) -> list[socket.socket]:
    try:
        link = socket.create_connection((host, port), CONNECT)
        link.sendall(password)
    except OSError:
        return []
    return [link]


def _keep_alive(link: socket.socket) -> None:
    # Nothing is said for days, perhaps: routers forget such connections.
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, 'TCP_KEEPIDLE'):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)


def _close(link: socket.socket) -> None:
    # Forked workers of loaders have the connection too.
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()
