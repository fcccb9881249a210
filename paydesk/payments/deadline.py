"""A deadline for a whole exchange: connecting, TLS, sending, headers and body together.

A socket's own timeout is for each read: a bank that sends a byte every few seconds never meets it.
So the sockets that a call uses are shut when its time is over, whoever waits on them.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

_present = threading.local()


class Deadline:
    """Ends the calls of one thread at a time of `time.monotonic()`."""

    def __init__(self, at: float) -> None:
        self._at = at
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.over = False

    def watch(self, sock: socket.socket) -> None:
        """Shuts the connection of `sock` too when the time is over."""
        with self._lock:
            # Its own handle: http.client lets go of its one while a body is still being read.
            self._sockets.append(sock.dup())
            if self.over:
                _shut(sock)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block every connection of this thread is watched."""
        timer = threading.Timer(max(0.0, self._at - time.monotonic()), self._end)
        timer.daemon = True
        timer.start()
        _present.deadline = self
        try:
            yield
        finally:
            _present.deadline = None
            timer.cancel()
            with self._lock:
                # A connection that goes back to its pool is another call's from here on.
                for sock in self._sockets:
                    sock.close()
                self._sockets.clear()

    def _end(self) -> None:
        with self._lock:
            self.over = True
            for sock in self._sockets:
                _shut(sock)


class _Watched:
    """A connection that shows its socket to the deadline of the thread that uses it."""

    _own: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._forget()
        # Of its own: TLS takes the socket itself over before the handshake has ended.
        self._own = sock.dup()
        self._show()
        return sock

    def getresponse(self) -> HTTPResponse:
        self._show()
        response: HTTPResponse = super().getresponse()  # type: ignore[misc]
        return response

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        self._forget()

    def _show(self) -> None:
        deadline: Deadline | None = getattr(_present, "deadline", None)
        if deadline is not None and self._own is not None:
            deadline.watch(self._own)

    def _forget(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None


class _Connection(_Watched, HTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_Watched, HTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class DeadlineAdapter(HTTPAdapter):
    """Connections that end with the `Deadline` of the thread that uses them."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """As in requests, with connections of ours."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **named: Any) -> PoolManager:
        """As in requests, with connections of ours."""
        manager: PoolManager = super().proxy_manager_for(proxy, **named)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # Closed in the meantime.
        sock.shutdown(socket.SHUT_RDWR)
