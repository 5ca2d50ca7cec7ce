"""The lifeline: a stream socket pair between the master and a worker, the exporter or a helper.

It carries messages, and descriptors attached to them (SCM_RIGHTS); which, stands in workerline.py, exporterline.py and
helperline.py. Both sides are non-blocking and buffer what does not fit. If one side dies the other one reads the end of
the stream: that is how a worker notices that its master is gone.

A frame: length and number of descriptors (6 octets), then a pickled message. Pickle is safe here: the two ends are
one program, forked.
"""

import array
import pickle
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct("<IH")
_MOST_FDS = 200
"""Descriptors in one sendmsg; the kernel takes 253."""
_READ_SIZE = 1 << 16


class LifelineLost(ConnectionError):
    """The other side is gone."""


class Lifeline:
    """One end. `wants_write` tells the owner of the event loop when to call `flush` on writability."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._in = bytearray()
        self._fds: deque[int] = deque()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def send(self, message: object, fds: Sequence[int] = ()) -> None:
        """Queues a message and sends what fits.

        The descriptors must stay open until they are sent. Raises LifelineLost.
        """
        body = pickle.dumps(message)
        frame = memoryview(_HEAD.pack(len(body), len(fds)) + body)
        # Descriptors travel with an octet of data: beyond one sendmsg's worth, with the frame's first octets, one each.
        batches = [list(fds[start : start + _MOST_FDS]) for start in range(0, len(fds), _MOST_FDS)]
        for position, batch in enumerate(batches[:-1]):
            self._out.append((frame[position : position + 1], batch))
        first = max(0, len(batches) - 1)
        self._out.append((frame[first:], batches[-1] if batches else []))
        self.flush()

    def flush(self) -> None:
        """Sends what fits. Raises LifelineLost."""
        while self._out:
            data, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self.socket.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError as error:
                raise LifelineLost(str(error)) from None
            if sent < len(data):
                self._out[0] = (data[sent:], [])
            else:
                self._out.popleft()

    def receive(self) -> list[tuple[Any, list[int]]]:
        """The whole messages that have come, each with its descriptors.

        Raises LifelineLost at the end of the stream.
        """
        try:
            data, ancillary, _flags, _address = self.socket.recvmsg(
                _READ_SIZE, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return []
        except OSError as error:
            raise LifelineLost(str(error)) from None
        if not data:
            raise LifelineLost("end of stream")
        for _level, _type, raw in ancillary:
            self._fds.extend(array.array("i", raw[: len(raw) // 4 * 4]))
        self._in += data
        return self._whole_messages()

    def _whole_messages(self) -> list[tuple[Any, list[int]]]:
        messages = []
        while len(self._in) >= _HEAD.size:
            length, fd_count = _HEAD.unpack_from(self._in)
            if len(self._in) < _HEAD.size + length:
                break
            body = bytes(self._in[_HEAD.size : _HEAD.size + length])
            del self._in[: _HEAD.size + length]
            messages.append((pickle.loads(body), [self._fds.popleft() for _ in range(fd_count)]))
        return messages

    def close(self) -> None:
        self.socket.close()
