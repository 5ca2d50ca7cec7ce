"""One connection to Dovecot's authentication server, on which many logins may be under way. On an event loop."""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Collection

from popular.pdm import dovecotwire as wire
from popular.pdm.contract import ModuleFailed, Question, QuestionFailed

MOST_OPEN = 1000
"""Logins that may have a challenge open. Clients go away in the middle, and the server waits for each for minutes: the
one that is open for the longest time is cancelled.
"""
LONGEST_SILENCE = 30.0
"""Seconds. A server that says nothing for so long, to nobody, is gone: it holds a refusal back for a few. Without this
whoever was shown a challenge of ours (libpdm_dovecot.py), and has left, would be waited for as long as it hangs.
"""
_GONE = "the authentication server has closed the connection"


class AuthConnection:
    """One connection. `mechanisms`: what the server offers."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, mechanisms: Collection[str]
    ) -> None:
        self.mechanisms = mechanisms
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._replies = 0
        self._waiting: dict[int, asyncio.Future[wire.AuthReply]] = {}
        self._open: OrderedDict[int, None] = OrderedDict()
        """The logins whose clients have a challenge to answer, by number."""
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    @property
    def usable(self) -> bool:
        return not self._listening.done()

    async def ask(self, question: Question, login: wire.Begun) -> wire.AuthReply:
        """What the server says to a login. Raises ModuleFailed."""
        number = next(self._numbers) % (1 << 31) + 1
        return await self._reply_to(number, wire.request(number, question, login))

    async def respond(self, number: int, said: bytes) -> wire.AuthReply:
        """What the server says to what the client has answered to its challenge. Raises ModuleFailed."""
        if not self.usable:
            raise ModuleFailed(_GONE)
        if number not in self._open:
            raise QuestionFailed("this login was given up: too many were open at the authentication server")
        line = wire.response(number, said)
        del self._open[number]
        return await self._reply_to(number, line)

    async def _reply_to(self, number: int, line: bytes) -> wire.AuthReply:
        heard: asyncio.Future[wire.AuthReply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = heard
        before = self._replies
        try:
            self._writer.write(line)
            async with asyncio.timeout(LONGEST_SILENCE):
                await self._writer.drain()
                return await heard
        except TimeoutError:
            if self._replies == before:
                self._writer.transport.abort()
            raise ModuleFailed("the authentication server is silent") from None
        except OSError as error:
            raise ModuleFailed(f"the authentication server: {type(error).__name__}") from None
        finally:
            self._waiting.pop(number, None)

    async def _listen(self) -> None:
        try:
            while (text := await self._reader.readline()).endswith(b"\n"):  # else cut off, and no answer
                reply = wire.reply_of(text.decode(errors="surrogateescape").rstrip("\n"))
                if reply is not None:
                    self._replies += 1
                    self._heard(reply)
        except (OSError, ValueError):
            pass
        finally:
            self._writer.close()
            for heard in self._waiting.values():
                if not heard.done():
                    heard.set_exception(ModuleFailed(_GONE))

    def _heard(self, reply: wire.AuthReply) -> None:
        heard = self._waiting.get(reply.number)
        wanted = heard is not None and not heard.done()
        if reply.word == "CONT":
            self._open[reply.number] = None
            if not wanted:
                self._cancel(reply.number)
            elif len(self._open) > MOST_OPEN:
                self._cancel(next(iter(self._open)))
        else:
            self._open.pop(reply.number, None)
        if heard is not None and wanted:
            heard.set_result(reply)

    def _cancel(self, number: int) -> None:
        del self._open[number]
        self._writer.write(wire.cancelled(number))

    async def close(self) -> None:
        """Nobody asks any more."""
        self._listening.cancel()
        await asyncio.wait({self._listening})
