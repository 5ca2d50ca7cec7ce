"""The options of a TCP connection that is kept to a server, and may have vanished: a firewall forgets what is idle.

`VANISHED_MS` is when the kernel gives it up: when the server's kernel has given no sign for so long, counted from the
first packet that is sent again, which is after about a second. A driver's own limit for an answer is longer; so where
an answer does not come in time, and the connection stands, the server is slow.
"""

import socket
from collections.abc import Mapping

VANISHED_MS = 500
OPTIONS: Mapping[int, int] = {
    socket.TCP_KEEPIDLE: 60,
    socket.TCP_KEEPINTVL: 10,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: VANISHED_MS,
}
"""The level is IPPROTO_TCP; the first three count where SO_KEEPALIVE is on."""
