"""Every module that asks a server, against the real one: answers, hostile names, and a server that stalls or dies."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import popular.pdm
from popular.pdm import loader
from popular.pdm.contract import CannotTell, Question, Secret, UserAt
from popular.pdm.decision import Admitted, Decision, NobodyKnows, RefusedLogin
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard, decide
from popular.pdm.steps import Record
from tests.databases.faults import FAULTS, refusals
from tests.databases.servers import PASSWORD, SERVERS, USERS, Mariadb, Postgresql, Server
from tests.patience import patient, within

HOSTILE = (
    "joe' OR '1'='1",
    'joe" OR ""="',
    "joe\\' OR 1=1 -- ",
    "joe\\",
    "joe*",
    "*",
    "*)(mail=*",
    "joe)(|(mail=*",
    "%u",
    "%s%s%s",
    ":user",
    "joe\r\nAuth-Status: OK",
    "joe\tresp=",
    "joe\x00",
    "joe\x01t",
    "j\u00f6e\U0001f600",
    "x" * 10_000,
    "joe\udcff",
    "",
)
DEADLINE = 2.0
MODULES = Path(popular.pdm.__file__).parent


@pytest.fixture(params=SERVERS, ids=lambda server: server.__name__, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as started:
        yield started


class Events(Unheard):
    """What is heard beside answers."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def erred(self, _ident: str, where: str) -> None:
        self.errors.append(where)


Ask = Callable[..., Awaitable[Decision]]


def asked(
    server: Server,
    dialogue: Callable[[Ask], Awaitable[None]],
    breaker: int = 0,
    *,
    words: Sequence[str] = (),
) -> Events:
    """Opens the module (with these words), has the dialogue with it, and closes it. No error of the module's own may
    come.
    """
    events = Events()

    async def run() -> None:
        guarded = Guarded(loader.load(MODULES, server.module, "m", arguments=list(words) or server.arguments()))
        how = Asking(Terms(timeout=patient(DEADLINE), breaker=breaker, pause=0.2), events)

        async def ask(user: str, password: str | bytes = PASSWORD) -> Decision:
            octets = password.encode() if isinstance(password, str) else password
            question = Question("192.0.2.1", "POP3", "default", user, Secret(octets), "v")
            return await decide([(guarded, how)], question, Record())

        try:
            await dialogue(ask)
        finally:
            await guarded.close()

    asyncio.run(run())
    assert events.errors == []
    return events


async def until_admitted(ask: Ask) -> None:
    """A server that is back is used again, by itself."""
    deadline = time.monotonic() + patient(15)
    while not isinstance(await ask("joe"), Admitted):
        assert time.monotonic() < deadline, "the module does not ask its server again"
        await asyncio.sleep(0.1)


def test_it_admits_refuses_and_does_not_know(server: Server) -> None:
    async def dialogue(ask: Ask) -> None:
        for user in USERS:
            decision = await ask(user)
            assert isinstance(decision, Admitted), decision
            assert decision.route.backend == "store1"
            assert not server.has_targets or decision.route.target == "mail/joe"
        for password in ("wrong", "", PASSWORD + " ", PASSWORD.upper(), "x" * 10_000, b"\xff\xfe", b"a\0b"):
            assert isinstance(await ask("joe", password), (RefusedLogin, CannotTell)), password
        assert isinstance(await ask("joe", "wrong"), RefusedLogin)
        assert isinstance(await ask("nobody"), NobodyKnows if server.knows_who_exists else RefusedLogin)
        assert not isinstance(await ask("max"), Admitted)
        assert not isinstance(await ask("max", "wrong"), Admitted)

    asked(server, dialogue)


def test_no_name_or_password_reaches_the_server_as_something_else(server: Server) -> None:
    names = (*HOSTILE, *([" joe", "joe "] if server.letter_by_letter else []))
    tries = [
        (user, password)
        for user in names
        for password in (PASSWORD, user.encode(errors="surrogateescape"), b"", b"' OR '1'='1")
    ]

    async def dialogue(ask: Ask) -> None:
        decisions = await asyncio.gather(*(ask(user, password) for user, password in tries))
        for attempt, decision in zip(tries, decisions, strict=True):
            assert isinstance(decision, (RefusedLogin, NobodyKnows, CannotTell)), (attempt, decision)
        assert isinstance(await ask("joe"), Admitted)

    asked(server, dialogue)


def test_many_questions_at_once_get_each_its_own_answer(server: Server) -> None:
    async def dialogue(ask: Ask) -> None:
        asking = [ask("joe", PASSWORD if number % 2 else "wrong") for number in range(40)]
        decisions = await asyncio.gather(*asking)
        for number, decision in enumerate(decisions):
            assert isinstance(decision, Admitted if number % 2 else RefusedLogin), (number, decision)

    asked(server, dialogue)


def test_what_is_wrong_with_one_user_closes_the_module_to_nobody(server: Server) -> None:
    """Neither a faulty record nor a name at which the server fails, however often he comes."""
    for name, words in FAULTS[type(server)](server) if type(server) in FAULTS else ():

        async def dialogue(ask: Ask, name: str = name) -> None:
            for _ in range(3):
                assert isinstance(await ask(name), CannotTell), name
            let_in = await ask("joe")
            assert isinstance(let_in, Admitted), (name, let_in)

        asked(server, dialogue, breaker=2, words=words)


def test_a_server_that_stalls_is_no_unknown_user(server: Server) -> None:
    """The answer comes within the deadline, the loop goes on meanwhile, and afterwards all is well by itself."""

    async def dialogue(ask: Ask) -> None:
        assert isinstance(await ask("joe"), Admitted)
        with server.stalled():
            ticks = 0
            with within(DEADLINE):
                pending = [asyncio.ensure_future(ask(user)) for user in ("joe", "nobody", "joe")]
                while not all(question.done() for question in pending):
                    await asyncio.sleep(0.02)
                    ticks += 1
            assert ticks > 10, "the loop stood still"
            for question in pending:
                assert isinstance(question.result(), CannotTell)
        await until_admitted(ask)

    asked(server, dialogue)


def test_a_server_that_is_killed_is_no_unknown_user_and_is_found_again(server: Server) -> None:
    async def dialogue(ask: Ask) -> None:
        assert isinstance(await ask("joe"), Admitted)
        server.kill()
        for user in ("joe", "nobody"):
            assert isinstance(await ask(user), CannotTell)
        await asyncio.to_thread(server.start)
        await until_admitted(ask)

    asked(server, dialogue, breaker=2)


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
def test_the_blanks_that_fill_a_column_up_are_no_part_of_a_field(server: Server, encoding: str) -> None:
    """MySQL leaves them out by itself; of a database that knows no encoding texts come as octets."""
    if not isinstance(server, Postgresql):
        return
    query = "SELECT pw::char(99) AS password, 'store1'::char(12) AS backend FROM mailbox WHERE username = :user"

    async def dialogue(ask: Ask) -> None:
        decision = await ask("joe")
        assert isinstance(decision, Admitted)
        assert decision.route.backend == "store1"

    url, *words = server.arguments()[:3]
    url += f"{'&' if '?' in url else '?'}client_encoding={encoding}"
    asked(server, dialogue, words=[url, *words, "query", query])


def test_why_a_database_cannot_be_asked_is_told_at_once(server: Server) -> None:
    """Without what the server quotes; and nobody waits for the deadline to hear it."""
    if not isinstance(server, (Postgresql, Mariadb)):
        return
    reasons: list[str] = []

    async def dialogue(ask: Ask) -> None:
        answer = await ask("joe")
        assert isinstance(answer, CannotTell)
        reasons.append(answer.reason)

    expected = refusals(server)
    for words, _reason in expected:
        asked(server, dialogue, words=words)
    assert reasons == [f"m: the database: {reason}" for _words, reason in expected]


def test_a_user_is_led_to_another_backend(server: Server) -> None:
    """By servers that can be told; and back, so that told again it is true again. Nobody else is led anywhere."""
    words = server.leading()
    if words is None:
        assert getattr(loader.load(MODULES, server.module, "m", arguments=server.arguments()), "lead", None) is None
        return

    async def run() -> None:
        guarded = Guarded(loader.load(MODULES, server.module, "m", arguments=words))
        module: Any = guarded.module

        async def place(user: str) -> str:
            return str((await module.lookup("default", user)).route.backend)

        try:
            for backend in ("two", "two", "store1", "mail/joe"):
                assert await guarded.lead(UserAt("default", "joe", backend), patient(DEADLINE)) == ""
                assert await place("joe") == backend
            assert await place("joe@example.org") != "two"
            assert "does not have this user" in await guarded.lead(UserAt("default", "nobody", "x"), patient(DEADLINE))
        finally:
            await guarded.close()

    asyncio.run(run())
