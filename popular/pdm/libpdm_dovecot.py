"""The module `dovecot SOCKET [backend ID] [target TARGET]`: asks Dovecot's authentication server, as Postfix does.

    pdm add users dovecot /run/dovecot/auth-client backend store1

SOCKET is the path of a `unix_listener` of Dovecot's `service auth`, or HOST:PORT of an `inet_listener` (in clear).
Users are checked by whatever databases Dovecot has, by the mechanism PLAIN. Where its passdb returns `proxy` with
`host`, that is where the mail is, and has to be allowed (`pdm conf ID allow NET:PORT like BACKEND`); `backend ID` takes
another.

Dovecot holds a refusal back for some seconds (`auth_failure_delay`), and does not tell who exists: whoever may not come
in is "refused", so this module stands last. It keeps one connection for all questions of a worker.
"""

import asyncio
import itertools
import os
import socket
from collections.abc import Sequence
from dataclasses import replace

from popular.pdm import dovecotwire as wire
from popular.pdm.arguments import pairs
from popular.pdm.contract import Answer, AsyncModule, Authenticated, ModuleFailed, Question
from popular.pdm.record import Defaults

_WORDS = ("backend", "target")
_HANDSHAKE_SECONDS = 5.0
_MOST_HANDSHAKE_LINES = 200
_GONE_MS = 5000
"""A server that acknowledges nothing for so long is gone (tcp(7), TCP_USER_TIMEOUT)."""


class AuthConnection:
    """One connection, on which many questions may be under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[wire.AuthReply]] = {}
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    @property
    def usable(self) -> bool:
        return not self._listening.done()

    async def ask(self, question: Question) -> wire.AuthReply:
        """What the server says to a login. Raises ModuleFailed."""
        number = next(self._numbers) % (1 << 31) + 1
        request = wire.plain_request(number, question)
        heard: asyncio.Future[wire.AuthReply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = heard
        try:
            self._writer.write(request)
            await self._writer.drain()
            return await heard
        except OSError as error:
            raise ModuleFailed(f"the authentication server: {type(error).__name__}") from None
        finally:
            self._waiting.pop(number, None)

    async def _listen(self) -> None:
        try:
            while (text := await self._reader.readline()).endswith(b"\n"):  # else cut off, and no answer
                reply = wire.reply_of(text.decode(errors="surrogateescape").rstrip("\n"))
                heard = self._waiting.get(reply.number) if reply is not None else None
                if heard is not None and reply is not None and not heard.done():
                    heard.set_result(reply)
        except (OSError, ValueError):
            pass
        finally:
            self._writer.close()
            for heard in self._waiting.values():
                if not heard.done():
                    heard.set_exception(ModuleFailed("the authentication server has closed the connection"))

    async def close(self) -> None:
        """Nobody asks any more."""
        self._listening.cancel()
        await asyncio.wait({self._listening})


class Dovecot(AsyncModule):
    """Asks one authentication server."""

    by_address = True

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        if not arguments:
            raise ModuleFailed("dovecot: SOCKET is wanted: a path, or HOST:PORT")
        self.ident, self.arguments = ident, tuple(arguments)
        self._socket = arguments[0]
        host, colon, port = self._socket.rpartition(":")
        if not self._socket.startswith("/") and not (colon and host and port.isdigit() and int(port) <= 65535):
            raise ModuleFailed(f"dovecot: '{self._socket}' is neither a path that begins with / nor HOST:PORT")
        words = pairs("dovecot", arguments[1:], _WORDS)
        self._defaults = Defaults.of("dovecot", words)
        self._connection: AuthConnection | None = None
        self._opening = asyncio.Lock()

    async def check(self, question: Question) -> Answer:
        """See AsyncModule."""
        connection = await self._connected()
        answer = wire.answer_of(await connection.ask(question), question.user, self._defaults.backend)
        if isinstance(answer, Authenticated) and self._defaults.fill is not None:
            return replace(answer, route=answer.route._replace(target=self._defaults.fill(question.user)))
        return answer

    async def _connected(self) -> AuthConnection:
        async with self._opening:
            if self._connection is None or not self._connection.usable:
                try:
                    self._connection = await asyncio.wait_for(self._opened(), _HANDSHAKE_SECONDS)
                except (OSError, ValueError, TimeoutError) as error:
                    raise ModuleFailed(f"the authentication server: {type(error).__name__}") from None
            return self._connection

    async def _opened(self) -> AuthConnection:
        """Connects, and shakes hands. The server may wait for us to begin, and sends its lines in any order."""
        if self._socket.startswith("/"):
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=wire.LONGEST_LINE)
        else:
            host, _colon, port = self._socket.rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=wire.LONGEST_LINE)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_MS)
        try:
            writer.write(wire.greeting(os.getpid()))
            await self._shaken(reader)
        except BaseException:
            writer.close()
            raise
        return AuthConnection(reader, writer)

    async def _shaken(self, reader: asyncio.StreamReader) -> None:
        mechanisms = set()
        for _ in range(_MOST_HANDSHAKE_LINES):
            word, *rest = (await reader.readline()).decode(errors="replace").rstrip("\n").split("\t")
            if word == "VERSION" and rest[:1] != [wire.MAJOR]:
                raise ModuleFailed(f"the authentication server speaks version {rest[:1]} of the protocol, and not 1")
            if word == "MECH" and rest:
                mechanisms.add(rest[0])
            if word == "DONE":
                if "PLAIN" not in mechanisms:
                    raise ModuleFailed("the authentication server does not offer PLAIN")
                return
            if not word:
                break
        raise ModuleFailed("the authentication server has not finished its greeting")

    def reload(self) -> "Dovecot":
        """See AsyncModule."""
        return Dovecot(self.ident, self.arguments)

    async def close(self) -> None:
        """See AsyncModule."""
        if self._connection is not None:
            await self._connection.close()


def open_module(ident: str, arguments: Sequence[str]) -> Dovecot:
    """See the top of this file."""
    return Dovecot(ident, arguments)
