"""What every module must stand, whatever it knows: `ptestpdm --conformance MODULE [ARG]…`.

Each trial puts questions as the proxy does, and says in a line what was wrong. A module passes if it answers by the
contract in time, whatever a client types; if it lets nobody in by it, shows no secret, and holds up nobody else.
"""

import asyncio
import contextlib
import hashlib
import io
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from time import monotonic
from typing import NamedTuple

from popular.pdm.contract import (
    LEAD,
    LOOKUP,
    PASSWORD,
    SCRAM,
    TOKEN,
    AnyModule,
    Authenticated,
    CannotTell,
    ClientResponse,
    HandedOn,
    KeysWanted,
    KnownUser,
    ModuleFailed,
    Provable,
    Question,
    Refused,
    Route,
    Secret,
    Token,
    Unknown,
)
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard
from popular.pdm.loader import successor as successor_of
from popular.pdm.steps import AUTHENTICATE, CHECK, KEYS, RESPOND, SPEND, Step, takes
from popular.pdm.where import Where
from popular.protocol.sasl import BadResponse, saslname
from popular.protocol.scram import SCRAM as MECHANISM
from popular.protocol.scram import ScramClient, ScramKeys
from supervisor.runtime.fault import kind_and_location_of

SECONDS = 5.0
"""What an answer may take."""
LONGEST_LAG = 0.25
"""For how long, in seconds, a module may hold the event loop."""
_LAG_ROUNDS = 3
AT_ONCE = 50
_CANARY = "canary4711"
_MOST_CHALLENGES = 3
_SHOWN = re.compile(rb"r=[^,]+,s=([^,]+),i=(\d+)")

STRANGE = (
    "",
    " ",
    "%",
    "*",
    "../../etc/passwd",
    "joe' OR '1'='1",
    'joe"; DROP TABLE users; --',
    "joe\\",
    "*)(uid=*))(|(uid=*",
    "joe\r\nPASS x",
    "joe\x00admin",
    "$(reboot)`reboot`",
    "%s%n%u{0}{}",
    "joe\udcff",
    "\u202ejoe\u00e9\U0001f600",
    "x" * 10_000,
)
"""User names and passwords that mean something to somebody."""


class _Wrong(Exception):
    """What a trial has found."""


class _NotTried(Exception):
    """It cannot be tried, for this reason."""


_NO_USER = "say --user and --passwordfile"
_NO_SCRAM = "it takes no scram"


class Tried(NamedTuple):
    """What came of a trial."""

    name: str
    wrong: str = ""
    left_out: str = ""
    """Why it was not tried."""


class _Heard(Unheard):
    """What is heard of the module beside its answers (Unheard)."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def erred(self, ident: str, where: str) -> None:
        self.errors.append(f"{ident} raised {where}")


class Trials:
    """The trials of one module. `known`: a user that it has and his password, or token, for what cannot be tried
    without.
    """

    def __init__(self, opened: Callable[[], AnyModule], known: tuple[str, Secret] | None = None) -> None:
        self._opened = opened
        self._known = known
        self._heard = _Heard()
        self._asking = Asking(Terms(timeout=SECONDS, breaker=0, threads=AT_ONCE), self._heard)
        self._guard = Guarded(opened())

    async def all(self) -> AsyncIterator[Tried]:
        """Each trial, when it is over."""
        trials: dict[str, Callable[[], Awaitable[None]]] = {
            "answers by the contract, whatever is typed": self._strange,
            f"{AT_ONCE} questions at once are answered, each as alone": self._many,
            "vouches for nobody by chance": self._vouches,
            "lets a known user in, and nobody with a wrong password": self._knows,
            "hands out keys of SCRAM as the contract has it": self._keys,
            "hands on exchanges of SCRAM, and lets in by nothing but a proof": self._exchanges,
            "a question that is given up harms no other": self._given_up,
            "the event loop is not held": self._lag,
            "lookup needs no password": self._lookup,
            "a user whom it does not have it leads nowhere": self._leads,
            "a reload gives a successor, and the old one answers on": self._reload,
            "closes, and leaves nothing open": self._close,
        }
        for name, trial in trials.items():
            shown = io.StringIO()
            left_out = ""
            try:
                with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
                    await trial()
                wrong = self._heard.errors[0] if self._heard.errors else ""
            except _Wrong as found:
                wrong = str(found)
            except _NotTried as why:
                wrong, left_out = "", str(why)
            except (KeyboardInterrupt, asyncio.CancelledError):
                raise
            except BaseException as error:  # the panic of a module in Rust is one
                wrong = f"it raised {kind_and_location_of(error)}"
            self._heard.errors.clear()
            yield Tried(name, "a secret was printed" if _CANARY in shown.getvalue() else wrong, left_out)

    async def _put(self, user: str, password: str = _CANARY, *, guard: Guarded | None = None) -> object:
        guard = guard or self._guard
        question = self._question(user, Secret(password.encode(errors="surrogateescape")))
        answer = await guard.put(Step(guard.module, CHECK), question, self._asking)
        if self._heard.errors:
            raise _Wrong(f"user name {user[:20]!a}: {self._heard.errors[0]}")
        if isinstance(answer, CannotTell) and ("no answer within" in answer.reason or "contract" in answer.reason):
            raise _Wrong(f"user name {user[:20]!a}: {answer.reason}")
        if _CANARY in repr(answer):
            raise _Wrong("an answer shows the password")
        if isinstance(answer, Unknown):
            for decoy in filter(None, (answer.decoy, answer.second_round)):
                await guard.put(Step(guard.module, SPEND, decoy=decoy), question, self._asking)
        return answer

    def _question(self, user: str, secret: Secret) -> Question:
        """With a password, or, for a module that takes nothing else, with a token."""
        takes = getattr(self._guard.module, "takes", (PASSWORD,))
        token = Token("XOAUTH2", secret) if TOKEN in takes and PASSWORD not in takes else None
        shown = secret if token is None else Secret(b"")
        return Question("192.0.2.1", "POP3", "default", user=user, password=shown, vserv="v", token=token)

    async def _lets_everyone_in(self) -> bool:
        return isinstance(await self._put(secrets.token_hex(8)), Authenticated)

    async def _strange(self) -> None:
        everyone = await self._lets_everyone_in()
        for text in STRANGE:
            for user, password in ((text, _CANARY), (secrets.token_hex(8), text)):
                if isinstance(await self._put(user, password), Authenticated) and not everyone:
                    raise _Wrong(f"it let in the user name {user[:20]!a}")

    async def _many(self) -> None:
        names = [secrets.token_hex(8) for _ in range(AT_ONCE)]
        kinds = {type(answer) for answer in await asyncio.gather(*map(self._put, names))}
        alone = type(await self._put(names[0]))
        if kinds != {alone}:
            raise _Wrong(f"alone it is {alone.__name__}, at once {', '.join(sorted(kind.__name__ for kind in kinds))}")

    async def _vouches(self) -> None:
        guard, question = self._guard, self._question(secrets.token_hex(8), Secret(_CANARY.encode()))
        answer = await guard.put(Step(guard.module, AUTHENTICATE, Route("b", "joe")), question, self._asking)
        if answer is True:
            raise _Wrong("it vouched for a user whom nobody has, with a password of chance")
        if isinstance(answer, CannotTell) and "contract" in answer.reason:
            raise _Wrong(answer.reason)

    async def _knows(self) -> None:
        if self._known is None:
            raise _NotTried(_NO_USER)
        user, password = self._known
        question = self._question(user, password)
        for _ in range(2):
            answer = await self._guard.put(Step(self._guard.module, CHECK), question, self._asking)
            if not isinstance(answer, Authenticated):
                raise _Wrong(f"the right password is {_told(answer)}")
        wrong = await self._put(user)
        if not isinstance(wrong, (Refused, Unknown)) and not await self._lets_everyone_in():
            raise _Wrong(f"a wrong password is {_told(wrong)}")

    async def _keys(self) -> None:
        """One name is shown one salt, whether it is somebody's or nobody's."""
        if not takes(self._guard.module, SCRAM):
            raise _NotTried(_NO_SCRAM)
        for user in (secrets.token_hex(8), *STRANGE, *([] if self._known is None else [self._known[0]])):
            shown = [await self._shown(user) for _ in range(2)]
            if shown[0] != shown[1]:
                raise _Wrong(f"user name {user[:20]!a}: it is shown one salt now, and another one then")
        known = None if self._known is None else await self._asked_for_keys(self._known[0])
        if known is not None and (
            not isinstance(known, (Provable, HandedOn)) or (isinstance(known, Provable) and known.keys.fit_nobody)
        ):
            raise _Wrong("it has no keys of the user whom it lets in")

    async def _shown(self, user: str) -> tuple[bytes, int] | None:
        """Salt and iterations."""
        answer = await self._asked_for_keys(user)
        if isinstance(answer, HandedOn):
            shown = _SHOWN.fullmatch(answer.challenge)
            if shown is None:
                raise _Wrong("its challenge is none of SCRAM")
            return shown[1], int(shown[2])
        keys: object = answer.keys if isinstance(answer, Provable) else None
        if isinstance(answer, Unknown) and answer.decoy is not None:
            step, question = Step(self._guard.module, SPEND, decoy=answer.decoy), self._for_keys(user)
            keys = await self._guard.put(step, question, self._asking)
            if not isinstance(keys, ScramKeys) or not keys.are_sound:
                raise _Wrong("its decoy gives no keys, where keys are wanted")
        return (keys.salt, keys.iterations) if isinstance(keys, ScramKeys) else None

    async def _asked_for_keys(self, user: str, first: bytes = b"") -> object:
        answer = await self._guard.put(Step(self._guard.module, KEYS), self._for_keys(user, first), self._asking)
        if isinstance(answer, CannotTell) and "contract" in answer.reason:
            raise _Wrong(f"asked for keys: {answer.reason}")
        return answer

    def _for_keys(self, user: str, first: bytes = b"") -> Question:
        """`first`: what the client says first; b"": any message with this name."""
        octets = user.encode(errors="surrogateescape")
        first = first or b"n,,n=" + saslname(octets) + b",r=" + secrets.token_hex(9).encode()
        wanted = KeysWanted(MECHANISM, hashlib.blake2b(octets).digest(), first)
        return self._question(user, Secret(b""))._replace(token=None, proof=wanted)

    async def _exchanges(self) -> None:
        """With somebody whom it does not have, with a wrong password, and with the right one."""
        if not takes(self._guard.module, SCRAM):
            raise _NotTried(_NO_SCRAM)
        user, password = self._known or (secrets.token_hex(8), Secret(_CANARY.encode()))
        for name, secret in ((secrets.token_hex(8), password.reveal()), (user, _CANARY.encode()), (user, b"")):
            if isinstance(await self._exchanged(name, secret), Authenticated):
                raise _Wrong("it lets in who has proven nothing")
        answer = await self._exchanged(user, password.reveal())
        if self._known is not None and not isinstance(answer, (Authenticated, Provable)):
            raise _Wrong(f"the right proof is {_told(answer)}")

    async def _exchanged(self, user: str, password: bytes) -> object:
        """What comes of a login; a Provable is for the proxy to try."""
        client = ScramClient(user, password.decode(errors="replace") or "x", secrets.token_hex(9))
        answer = await self._asked_for_keys(user, client.first())
        for number in range(_MOST_CHALLENGES):
            if not isinstance(answer, HandedOn):
                break
            try:
                said = b"" if number or not password else client.final(answer.challenge)
            except BadResponse:
                raise _Wrong("its challenge is none of SCRAM") from None
            response = ClientResponse(MECHANISM, self._guard.ident, said, respond=answer.respond)
            question = self._for_keys(user)._replace(proof=response)
            answer = await self._guard.put(Step(self._guard.module, RESPOND), question, self._asking)
        return answer

    async def _given_up(self) -> None:
        asked = [asyncio.ensure_future(self._put(secrets.token_hex(8))) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await self._put(secrets.token_hex(8))

    async def _lag(self) -> None:
        """A machine that is busy holds it up now and then; a module does so each time."""
        shortest = inf
        for _ in range(_LAG_ROUNDS):
            shortest = min(shortest, await self._longest_hold())
            if shortest <= LONGEST_LAG:
                return
        raise _Wrong(f"it was held for {shortest:.2f} s, where {LONGEST_LAG} s are allowed")

    async def _longest_hold(self) -> float:
        """In seconds, while many ask at once."""
        longest = 0.0

        async def beat() -> None:
            nonlocal longest
            while True:
                began = monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, monotonic() - began - 0.01)

        beating = asyncio.ensure_future(beat())
        await asyncio.gather(*(self._put(secrets.token_hex(8)) for _ in range(AT_ONCE)))
        beating.cancel()
        return longest

    async def _lookup(self) -> None:
        lookup = getattr(self._guard.module, LOOKUP, None)
        if lookup is None:
            raise _NotTried("it has no lookup")
        user = secrets.token_hex(8) if self._known is None else self._known[0]
        try:
            found = lookup("default", user) if self._guard.where is not Where.ON_LOOP else await lookup("default", user)
        except ModuleFailed:
            return
        except Exception as error:
            raise _Wrong(f"it raised {kind_and_location_of(error)}") from None
        if found is not None and not isinstance(found, KnownUser):
            raise _Wrong(f"it gave a {type(found).__name__}: KnownUser or None is wanted")
        if self._known is not None and found is None:
            raise _Wrong("it does not know the user whom it lets in")

    async def _leads(self) -> None:
        lead = getattr(self._guard.module, LEAD, None)
        if lead is None:
            raise _NotTried("it has no lead")
        user = secrets.token_hex(8)
        try:
            done = await (
                lead("default", user, "b")
                if self._guard.where is Where.ON_LOOP
                else asyncio.to_thread(lead, "default", user, "b")
            )
        except ModuleFailed:
            return
        except Exception as error:
            raise _Wrong(f"it raised {kind_and_location_of(error)}") from None
        if done is not False:
            raise _Wrong(f"it says {done!r} of a user whom nobody has: False is wanted")

    async def _reload(self) -> None:
        try:
            successor = Guarded(await asyncio.to_thread(successor_of, self._guard.module))
        except ModuleFailed as error:
            raise _Wrong(f"it cannot be reloaded: {error}") from None
        if successor.module is self._guard.module:
            raise _Wrong("its successor is itself: what is asked meanwhile would be closed with it")
        user = secrets.token_hex(8)
        before, behind = await self._put(user), await self._put(user, guard=successor)
        if type(before) is not type(behind):
            raise _Wrong(f"the old one says {_told(before)}, the new one {_told(behind)}")
        await successor.close()
        if type(await self._put(user)) is not type(before):
            raise _Wrong("closing its successor has closed the old one too")

    async def _close(self) -> None:
        await self._guard.close()
        await asyncio.sleep(0.1)
        began = len(os.listdir("/proc/self/fd"))
        again = Guarded(await asyncio.to_thread(self._opened))
        await self._put(secrets.token_hex(8), guard=again)
        await again.close()
        for _ in range(20):
            if len(os.listdir("/proc/self/fd")) <= began:
                return
            await asyncio.sleep(0.1)
        raise _Wrong("a descriptor is left open")


def _told(answer: object) -> str:
    return f"cannot tell: {answer.reason}" if isinstance(answer, CannotTell) else type(answer).__name__.lower()
