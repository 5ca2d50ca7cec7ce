"""A small HTTP server: GET and HEAD of a few paths, each answered by a function. No files, so no way out of them.

One request for each connection, and everything is bounded: connections, the length of a request, the time for it and
for its answer. Who is slow or says nonsense loses his own connection, and when there are as many as may be, the one
that has been there longest makes room: nobody can keep a probe out by saying nothing. It runs on asyncio, in one
thread: an answer is made in one go.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

MOST_CONNECTIONS = 32
LONGEST_REQUEST = 8192
"""Octets of the request line and all header fields."""
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 10.0

EVERY_ADDRESS = "::"
_MAPPED_IPV4 = "::ffff:"
_CONTROLS = re.compile(r"[\0\r\n]")

TEXT = "text/plain; charset=utf-8"


class HttpRequest(NamedTuple):
    """What is asked for. Names of header fields are in lower case; of a field or parameter given twice the last."""

    method: str
    path: str
    parameters: Mapping[str, str]
    fields: Mapping[str, str]
    peer: str
    """The client's address; of one at a Unix socket nothing."""
    by_unix_socket: bool = False


class HttpResponse(NamedTuple):
    """What is answered; `fields` are header fields beside those that every answer has."""

    status: HTTPStatus
    content_type: str
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()


Answer = Callable[[HttpRequest], HttpResponse]


class BadHttpRequest(ValueError):
    """Not HTTP/1."""


def text(status: HTTPStatus, words: str = "") -> HttpResponse:
    """An answer for people."""
    return HttpResponse(status, TEXT, f"{words or status.phrase}\n".encode())


def parse(head: bytes, peer: str, by_unix_socket: bool = False) -> HttpRequest:
    """The request line and the header fields, with the empty line at the end. Raises BadHttpRequest."""
    lines = head.decode("latin-1").split("\r\n")
    if any(map(_CONTROLS.search, lines)):
        raise BadHttpRequest("a line holds a control character")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadHttpRequest("the first line is no HTTP/1 request")
    method, target, _version = words
    try:
        place = urlsplit(target)
        parameters = dict(parse_qsl(place.query, max_num_fields=20))
    except ValueError:
        raise BadHttpRequest("the path makes no sense") from None
    fields = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadHttpRequest("a header field makes no sense")
        fields[name.lower()] = value.strip()
    return HttpRequest(method, place.path, parameters, fields=fields, peer=peer, by_unix_socket=by_unix_socket)


def encode(response: HttpResponse, with_body: bool) -> bytes:
    """The answer as it travels. After it the connection is closed."""
    fields = [
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *response.fields,
    ]
    head = f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields)
    return head.encode("latin-1") + b"\r\n" + (response.body if with_body else b"")


class HttpServer:
    """Answers at one address, and at a Unix socket if there is one."""

    def __init__(self, routes: Mapping[str, Answer], on_fault: Callable[[Exception], None]) -> None:
        """`on_fault` is told of an error of ours; the client learns only that there was one."""
        self._routes = routes
        self._on_fault = on_fault
        self._connections: dict[asyncio.StreamWriter, None] = {}
        """The oldest first."""

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Begins to answer; gives address and port. `::` is every address, of IPv4 too. Raises OSError."""
        every = host == EVERY_ADDRESS
        if every and not socket.has_dualstack_ipv6():
            host = "0.0.0.0"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, dualstack_ipv6=every and ":" in host)
        await asyncio.start_server(self._converse, sock=listening, limit=LONGEST_REQUEST)
        address = listening.getsockname()
        return address[0], address[1]

    async def listen_at(self, listening: socket.socket) -> None:
        """Begins to answer at a Unix socket that listens already."""
        await asyncio.start_unix_server(self._converse, sock=listening, limit=LONGEST_REQUEST)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request; never raises."""
        route = self._routes.get(request.path)
        if route is None:
            return text(HTTPStatus.NOT_FOUND, f"There is nothing here; try {' '.join(self._routes)}")
        if request.method not in ("GET", "HEAD"):
            refused = text(HTTPStatus.METHOD_NOT_ALLOWED)
            return refused._replace(fields=(("Allow", "GET, HEAD"),))
        try:
            return route(request)
        except Exception as error:
            self._on_fault(error)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.transport.abort()
        self._connections[writer] = None
        try:
            said = await self._hear(reader, writer)
            if said:
                writer.write(said)
                async with asyncio.timeout(ANSWER_SECONDS):
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            self._connections.pop(writer, None)
            writer.transport.abort()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The answer, in octets; none for a client that went away."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            peer = writer.get_extra_info("peername") or [""]  # of one that is gone already nothing is known
            by_unix_socket = writer.get_extra_info("socket").family == socket.AF_UNIX
            request = parse(head, "" if by_unix_socket else peer[0].removeprefix(_MAPPED_IPV4), by_unix_socket)
        except TimeoutError:
            return encode(text(HTTPStatus.REQUEST_TIMEOUT), with_body=True)
        except asyncio.LimitOverrunError:
            return encode(text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), with_body=True)
        except asyncio.IncompleteReadError:
            return b""
        except BadHttpRequest as error:
            return encode(text(HTTPStatus.BAD_REQUEST, str(error)), with_body=True)
        return encode(self.answer(request), with_body=request.method != "HEAD")
