"""Octets ⇄ requests and answers of HTTP/1. Pure; the server is in `exporter.py`."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

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


Handler = Callable[[HttpRequest], HttpResponse]


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
