"""The module `dovecot SOCKET [NAME VALUE]…`: asks Dovecot's authentication server, as Postfix does.

    pdm add users dovecot /run/dovecot/auth-client backend store1

SOCKET is the path of a `unix_listener` of Dovecot's `service auth`, or HOST:PORT of an `inet_listener` (in clear).
Users are checked by whatever databases Dovecot has. `takes KIND,…` is what clients may show, and what Dovecot's
auth_mechanisms has to have: `password` (PLAIN; what counts if it is not there), `token` (XOAUTH2, OAUTHBEARER), `scram`
(SCRAM-SHA-256, whose exchange goes on between client and Dovecot, which alone has the keys). Where its passdb returns
`proxy` with `host`, that is where the mail is, and has to be allowed (`pdm conf ID allow NET:PORT like BACKEND`);
`backend ID` takes another. `target TARGET` is as in `passwd`.

Dovecot holds a refusal back for some seconds (`auth_failure_delay`), and does not tell who exists: whoever may not come
in is "refused", so this module stands last. By SCRAM it refuses who has no keys instead of a challenge; so challenges
are waited for, and held, for four times as long as the slowest of the last hundred took, and whoever has none then is
shown one that nobody can answer. One connection of a worker is kept for all questions.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from popular.pdm import dovecotwire as wire
from popular.pdm.arguments import is_at_host, kinds, pairs
from popular.pdm.contract import (
    PASSWORD,
    SCRAM,
    TOKEN,
    Answer,
    AsyncModule,
    Authenticated,
    HandedOn,
    KeysWanted,
    ModuleFailed,
    Question,
    QuestionFailed,
    Refused,
)
from popular.pdm.dovecotconnection import AuthConnection
from popular.pdm.record import ROUTING, TAKES, Defaults
from popular.protocol.sasl import BadResponse
from popular.protocol.scram import Proof, ScramKeys, invented_keys

_MECHANISMS = {PASSWORD: {"PLAIN"}, TOKEN: {"XOAUTH2", "OAUTHBEARER"}, SCRAM: {"SCRAM-SHA-256"}}
"""What is passed on, by the kind of credential. CRAM-MD5 and APOP are not: there the challenge comes first, and whose
it is to make depends on who the user is.
"""
_DISMISSED = b"\1"
"""What is answered to the reason why a token is no good (RFC 7628 section 3.2.3)."""
_HANDSHAKE_SECONDS = 5.0
_USUAL_SECONDS, _TIMES = 0.025, 4
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.02, 1.0
_MOST_HANDSHAKE_LINES = 200
_GONE_MS = 5000
"""A server that acknowledges nothing for so long is gone (tcp(7), TCP_USER_TIMEOUT)."""


class ChallengeWait:
    """How long everybody waits for a challenge: so much longer than the server takes for one that silence is a refusal.

    A refusal is held back by it for half a second or more, whatever it is told; if a challenge came when it is there,
    who has keys would have it sooner than who has none.
    """

    def __init__(self) -> None:
        self._taken = deque([_USUAL_SECONDS], maxlen=100)

    @property
    def seconds(self) -> float:
        return min(max(_TIMES * max(self._taken), _SHORTEST_SECONDS), _LONGEST_SECONDS)

    def note(self, seconds: float) -> None:
        """A challenge took so long."""
        self._taken.append(seconds)


def _is_host_and_port(place: str) -> bool:
    host, _colon, port = place.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return bool(bare and port) and is_at_host(urlsplit(f"//[{bare}]:{port}" if ":" in bare else f"//{bare}:{port}"))
    except ValueError:
        return False


class Dovecot(AsyncModule):
    """Asks one authentication server."""

    by_address = True

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        if not arguments:
            raise ModuleFailed("dovecot: SOCKET is wanted: a path, or HOST:PORT")
        self.ident, self.arguments = ident, tuple(arguments)
        self._socket = arguments[0]
        if not self._socket.startswith("/") and not _is_host_and_port(self._socket):
            raise ModuleFailed(f"dovecot: '{self._socket}' is neither a path that begins with / nor HOST:PORT")
        words = pairs("dovecot", arguments[1:], (*ROUTING, TAKES))
        self._defaults = Defaults.of("dovecot", words)
        self.takes = kinds("dovecot", words, TAKES, allowed=frozenset(_MECHANISMS))
        self._like: ScramKeys | None = None
        """The form of the keys of the last one who was challenged."""
        self._patience = ChallengeWait()
        self._connection: AuthConnection | None = None
        self._opening = asyncio.Lock()

    async def check(self, question: Question) -> Answer:
        """See AsyncModule."""
        connection, login = await self._connected(), wire.begun(question)
        if login.mechanism not in connection.mechanisms:
            raise QuestionFailed(f"the authentication server does not offer {login.mechanism}")
        if isinstance(question.proof, KeysWanted):
            return await self._challenged(connection, question, question.proof)
        reply = await connection.ask(question, login)
        if reply.word == "CONT" and question.token is not None:
            reply = await connection.respond(reply.number, _DISMISSED)
        return self._answer(reply, question.user)

    def _answer(self, reply: wire.AuthReply, user: str) -> Answer:
        answer = wire.answer_of(reply, user, self._defaults.backend)
        if isinstance(answer, Authenticated) and self._defaults.fill is not None:
            return replace(answer, route=answer.route._replace(target=self._defaults.fill(user)))
        return answer

    async def _challenged(self, connection: AuthConnection, question: Question, wanted: KeysWanted) -> Answer:
        """The server's challenge; or, where it is silent, one of ours that nobody can answer: at the same moment."""
        try:
            invented = Proof(wanted.first, wire.nonce())
        except BadResponse as error:
            raise QuestionFailed(str(error)) from None
        if invented.user != question.user:  # it has a namespace in it, which the server would take for a part of it
            return Refused()
        asking = asyncio.get_running_loop().create_task(connection.ask(question, wire.begun(question)))
        asking.add_done_callback(partial(self._timed, asyncio.get_running_loop().time()))
        try:
            await asyncio.sleep(self._patience.seconds)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if asking.done() and asking.result().word == "CONT":
            challenge = wire.challenge_of(asking.result())
            self._like = wire.form_shown(challenge) or self._like
            return HandedOn(challenge, partial(self._respond, connection, asking.result().number, user=question.user))
        challenge = invented.challenge(invented_keys(wanted.salt, self._like))
        return HandedOn(challenge, partial(self._refuse, connection, question, asked=asking))

    def _timed(self, began: float, asked: "asyncio.Task[wire.AuthReply]") -> None:
        if not asked.cancelled() and asked.exception() is None and asked.result().word == "CONT":
            self._patience.note(asyncio.get_running_loop().time() - began)

    async def _refuse(
        self, connection: AuthConnection, question: Question, _said: bytes, *, asked: "asyncio.Task[wire.AuthReply]"
    ) -> Answer:
        """A wrong proof is refused by the server, in its time; so it is asked about who has no keys once more."""
        again = await connection.ask(question, wire.begun(question))
        reply = await asked
        if "CONT" in (reply.word, again.word):
            raise QuestionFailed("the authentication server was slower than ever before")
        refusal = self._answer(reply, question.user)
        if isinstance(refusal, Authenticated):
            raise ModuleFailed("the authentication server lets in somebody who has proven nothing")
        return refusal

    async def _respond(self, connection: AuthConnection, number: int, response: bytes, *, user: str) -> Answer:
        """What comes of a proof. That it holds the server says by one more challenge, to which there is nothing to say;
        it is asked at once who that is and whether he may come in, before the client hears that his password is right.
        """
        reply = await connection.respond(number, response)
        if reply.word != "CONT":
            return self._answer(reply, user)
        holds = wire.challenge_of(reply)
        answer = self._answer(await connection.respond(number, b""), user)
        if not isinstance(answer, Authenticated):
            return answer
        account = answer.limits.account if answer.limits is not None else ""
        return HandedOn(holds, partial(self._concluded, answer), account)

    async def _concluded(self, answer: Answer, said: bytes) -> Answer:
        return Refused() if said else answer

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
            mechanisms = await self._shaken(reader)
        except BaseException:
            writer.close()
            raise
        return AuthConnection(reader, writer, mechanisms=mechanisms)

    async def _shaken(self, reader: asyncio.StreamReader) -> set[str]:
        """Which mechanisms the server offers."""
        mechanisms = set()
        wanted = set[str]().union(*(_MECHANISMS[kind] for kind in self.takes))
        for _ in range(_MOST_HANDSHAKE_LINES):
            word, *rest = (await reader.readline()).decode(errors="replace").rstrip("\n").split("\t")
            if word == "VERSION" and rest[:1] != [wire.MAJOR]:
                raise ModuleFailed(f"the authentication server speaks version {rest[:1]} of the protocol, and not 1")
            if word == "MECH" and rest:
                mechanisms.add(rest[0])
            if word == "DONE":
                if not wanted & mechanisms:
                    raise ModuleFailed(f"the authentication server does not offer {' or '.join(sorted(wanted))}")
                return mechanisms
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
