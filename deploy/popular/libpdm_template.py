"""A template for a module of your own: it asks a service over TCP, a line for each question.

    template HOST PORT [passwordfile FILE]

The service is sent `NAMESPACE USER PASSWORD`, each in base64, after the secret of FILE if there is one, and answers
`YES BACKEND`, `NO BACKEND` (I know him, but not with this password) or `UNKNOWN`.
"""

import asyncio
import base64

from popular.pdm.arguments import PASSWORDFILE, pairs, secret_from
from popular.pdm.contract import UNKNOWN, AsyncModule, Authenticated, ModuleFailed, Refused, Route

MOST_OCTETS = 500


class Template(AsyncModule):
    by_address = False  # the answer is the same wherever the client is

    def __init__(self, ident, arguments):  # runs in a thread: may read files, connects to nothing
        if len(arguments) < 2:
            raise ModuleFailed("template: HOST PORT [passwordfile FILE] is wanted")
        self.ident, self.arguments = ident, tuple(arguments)
        self._host, self._port = arguments[:2]
        self._secret = b"-"
        options = pairs("template", arguments[2:], {PASSWORDFILE})
        if PASSWORDFILE in options:
            secret, self.files = secret_from(options[PASSWORDFILE])  # the module is reloaded when the file changes
            self._secret = secret.reveal()

    async def check(self, question):  # runs on the event loop; has `pdm conf ID timeout` (5 s) for it
        words = (question.namespace.encode(), question.user.encode(errors="replace"), question.password.reveal())
        line = b" ".join([self._secret, *map(base64.b64encode, words)])  # in base64 nothing ends the line early
        reader, writer = await asyncio.open_connection(self._host, self._port)  # an OSError counts as "cannot tell"
        try:
            writer.write(line + b"\n")
            answer, _, backend = (await reader.read(MOST_OCTETS)).decode().strip().partition(" ")
        finally:
            writer.close()  # also if the client has gone, or the time is up: then the coroutine is cancelled
        if answer == "UNKNOWN":
            return UNKNOWN
        if answer not in ("YES", "NO") or not backend:
            raise ModuleFailed("the service talks nonsense")  # never its words: a password could be in them
        return Authenticated(Route(backend)) if answer == "YES" else Refused(Route(backend))

    def reload(self):
        return Template(self.ident, self.arguments)


def open_module(ident, arguments):
    return Template(ident, arguments)
