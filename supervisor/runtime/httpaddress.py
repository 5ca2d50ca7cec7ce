"""Where an HTTP server of ours listens."""

import socket
from typing import NamedTuple

OFF = "off"


class HttpAddress(NamedTuple):
    """Where to listen; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> HttpAddress | None:
    """`ADDRESS:PORT`, `[ADDRESS]:PORT`, or `off`, which gives None. Raises ValueError."""
    if text == OFF:
        return None
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    family = socket.AF_INET6 if bracketed else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except OSError:
        colon = ""
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ValueError(f"'{text}' is not ADDRESS:PORT, such as 127.0.0.1:9110 or [::1]:9110, nor {OFF}")
    return HttpAddress(host, int(port))
