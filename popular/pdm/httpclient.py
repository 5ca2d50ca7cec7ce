"""How modules speak HTTP: a client that keeps connections, and takes nothing from cookies or the environment."""

import ssl
from types import ModuleType
from typing import Any

from popular.pdm.arguments import needs

CONNECT_SECONDS = 3.0
_SECONDS = 60.0
"""For an answer; the module's own deadline is usually shorter."""
_LONGEST_HEADER = 8190
MOST_CONNECTIONS = 256


def http_library(extra: str) -> ModuleType:
    """The client that the modules with this extra have. Raises ModuleFailed, which names the extra."""
    return needs("aiohttp", extra=extra)


def client(library: ModuleType, *, connections: int, trusted: ssl.SSLContext | None) -> Any:
    """`trusted`: see cafile.py. To be made on the event loop, and closed there (`await client.close()`)."""
    return library.ClientSession(
        connector=library.TCPConnector(limit=connections, ssl=trusted or True, ttl_dns_cache=60),
        cookie_jar=library.DummyCookieJar(),
        timeout=library.ClientTimeout(total=_SECONDS, sock_connect=CONNECT_SECONDS),
        trust_env=False,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )
