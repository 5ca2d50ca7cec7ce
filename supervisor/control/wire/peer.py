"""Who is at the other end of a control connection, as the kernel tells it: nothing that a client says itself."""

import array
import errno
import socket
import struct
from typing import NamedTuple

_CREDENTIALS = struct.Struct("3i")
_SO_PEERGROUPS = 59
"""socket(7); Python has no name for it."""
_MOST_GROUPS = 65536


class Peer(NamedTuple):
    """A process: as whom it ran when it connected, and all groups that it was in then."""

    uid: int
    pid: int
    groups: frozenset[int] = frozenset()


def peer_of(connection: socket.socket) -> Peer:
    """Who has connected to a unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(credentials)
    return Peer(uid, pid, frozenset({gid, *_groups_of(connection)}))


def _groups_of(connection: socket.socket) -> list[int]:
    """The supplementary groups; none where the kernel does not tell them, which gives nobody more rights."""
    size = 64
    while size <= _MOST_GROUPS:
        groups = array.array("I")
        try:
            groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, size * groups.itemsize))
        except OSError as error:
            if error.errno != errno.ERANGE:
                return []
            size *= 4
        else:
            return groups.tolist()
    return []
