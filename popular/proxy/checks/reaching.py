"""A connection for a check of a backend, to whichever of its addresses has one first. Blocks.

A login waits for the greeting too (popular/proxy/session/backend/backend_race.py); a check, which has more time, tries
the others in turn where this one is not well (canary.py).
"""

import os
import selectors
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from popular.proxy.session.backend.backend_race import HEAD_START_SECONDS
from popular.proxy.session.backend.contracts import OURS, failure_of
from popular.proxy.settings.backend import Backend
from supervisor.system import dial


class Reached(NamedTuple):
    """A connection that stands, to the address of this number; 0 is the first."""

    connection: socket.socket
    number: int


def reach(backend: Backend, seconds: float, among: Sequence[int]) -> Reached:
    """`among`: numbers of addresses, in order. Raises TimeoutError, or OSError with what hindered the last one; at once
    where it is we who lack something (contracts.py), which says nothing of any address.
    """
    until = time.monotonic() + seconds
    left = list(among)
    trouble = OSError("it has no address")
    with selectors.DefaultSelector() as attempts:
        try:
            while left or attempts.get_map():
                if left:
                    number = left.pop(0)
                    try:
                        fd = dial(backend.addresses[number], backend.port, backend.source)
                        attempts.register(socket.socket(fileno=fd), selectors.EVENT_WRITE, number)
                    except OSError as error:
                        if failure_of(error).word == OURS:
                            raise
                        trouble = error
                        continue
                patience = until - time.monotonic()
                if patience <= 0:
                    raise TimeoutError
                for key, _events in attempts.select(min(patience, HEAD_START_SECONDS) if left else patience):
                    connection = attempts.unregister(key.fileobj).fileobj
                    assert isinstance(connection, socket.socket)
                    error_number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not error_number:
                        connection.setblocking(True)
                        return Reached(connection, key.data)
                    connection.close()
                    trouble = OSError(error_number, os.strerror(error_number))
            raise trouble
        finally:
            for key in list(attempts.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
