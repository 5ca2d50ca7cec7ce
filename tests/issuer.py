"""An identity provider on loopback, made for a test: it tells its public keys, and answers to introspection."""

import base64
import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote


class Issuer:
    """Use it in a `with` block. `keys` is its set of keys (JSON); `opaque` the tokens that introspection knows, each
    with what it says of it.
    """

    client_id = "popular"

    def __init__(self, keys: bytes = b"{}", client_secret: str = "client-secret-4711") -> None:
        self.keys = keys
        self.client_secret = client_secret
        self.opaque: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.status = 200
        self.body: bytes | None = None
        """Instead of what is right."""
        self.stalls = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "Issuer":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stalls.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def introspected(self, form: dict[str, list[str]], authorization: str) -> tuple[bytes, int]:
        """What it answers, and with which status."""
        pair = f"{quote(self.client_id, safe='')}:{quote(self.client_secret, safe='')}"
        if authorization != "Basic " + base64.b64encode(pair.encode()).decode():
            return b"{}", 401
        token = form["token"][0]
        said = {"active": True, **self.opaque[token]} if token in self.opaque else {"active": False}
        return json.dumps(said).encode(), 200


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(issuer.keys, 200)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer(*issuer.introspected(form, self.headers["Authorization"]))

        def _answer(self, body: bytes, status: int) -> None:
            issuer.asked.append(self.path)
            while issuer.stalls.is_set():
                time.sleep(0.01)
            body = issuer.body if issuer.body is not None else body
            self.send_response(status if issuer.status == 200 else issuer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # who asked may have given up
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler
