"""PostgreSQL through psycopg's pool: bounded, and whoever cannot be served hears why, at once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from popular.pdm.contract import ModuleFailed, Secret
from popular.pdm.guarded import Terms
from popular.pdm.postgresql import PostgresqlEngine
from popular.pdm.postgresqlpool import FRESH_SECONDS
from popular.pdm.sqlquery import Query
from tests.databases.servers import SERVER_SECRET, Postgresql
from tests.patience import patient, within
from tests.system.wire import LOOPBACK, free_port

CONNECTIONS = 4
MANY = 30
FOUND = "found"
NOBODY_LISTENS = "OperationalError ECONNREFUSED"
AT_ONCE_SECONDS = 0.1
PLAIN = "SELECT username FROM mailbox WHERE username = :user"
SLOW = "SELECT username, pg_sleep(0.05) FROM mailbox WHERE username = :user"
OF_NAME = (
    "SELECT count(*), count(*) FILTER (WHERE state = 'active') FROM pg_stat_activity WHERE application_name = '{}'"
)
END = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'popular' AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with Postgresql() as started:
        assert isinstance(started, Postgresql)
        yield started


@asynccontextmanager
async def engine(url: str, query: str = PLAIN, *, secret: str = SERVER_SECRET) -> AsyncIterator[PostgresqlEngine]:
    """One that is open; after it no task is left."""
    opened = PostgresqlEngine(url, Secret(secret.encode()), Query(query), connections=CONNECTIONS)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:  # those of a pool that has failed just now end by themselves
            await asyncio.wait(others, timeout=patient(1))
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def told(opened: PostgresqlEngine) -> str:
    """That joe was found, or why he was not."""
    try:
        (_row,) = await opened.rows({"user": "joe"}, 2)
    except ModuleFailed as error:
        return str(error).removeprefix("the database: ")
    return FOUND


async def all_told(opened: PostgresqlEngine, number: int = MANY) -> Sequence[str]:
    """What so many hear that ask at once."""
    return await asyncio.gather(*(told(opened) for _ in range(number)))


class Connections(NamedTuple):
    """How many the server has with us under a name."""

    all: int
    at_work: int


def connections(server: Postgresql, name: str) -> Connections:
    """Now; to find that out takes as long as to connect."""
    return Connections(*server.rows(OF_NAME.format(name))[0])


async def most_while_many_ask(server: Postgresql, opened: PostgresqlEngine, name: str) -> Connections:
    """The most that there were of each."""
    asking = asyncio.ensure_future(all_told(opened))
    seen = [Connections(0, 0)]
    while not asking.done():
        seen.append(await asyncio.to_thread(connections, server, name))
    assert set(asking.result()) == {FOUND}
    return Connections(max(each.all for each in seen), max(each.at_work for each in seen))


def test_nobody_connects_before_somebody_asks_and_then_no_more_than_may(server: Postgresql) -> None:
    """Thirty at once are served over four connections."""

    async def dialogue() -> None:
        async with engine(f"{server.arguments()[0]}?application_name=bounded", SLOW) as opened:
            for _ in range(3):
                assert await asyncio.to_thread(connections, server, "bounded") == (0, 0)
            assert await most_while_many_ask(server, opened, "bounded") == (CONNECTIONS, CONNECTIONS)

    asyncio.run(dialogue())


def test_a_server_with_room_for_less_serves_all_by_the_connections_that_it_gives(server: Postgresql) -> None:
    """That another one is refused concerns nobody who can wait for these."""
    server.run(
        f"CREATE ROLE narrow LOGIN PASSWORD '{SERVER_SECRET}' CONNECTION LIMIT 2; GRANT SELECT ON mailbox TO narrow"
    )

    async def dialogue() -> None:
        async with engine(server.arguments()[0].replace("popular@", "narrow@"), SLOW) as opened:
            assert set(await all_told(opened)) == {FOUND}

    asyncio.run(dialogue())


def test_a_server_that_refuses_tells_all_who_ask_and_is_not_stormed(
    server: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing of the secret comes into psycopg's log."""
    caplog.set_level(logging.DEBUG, "psycopg")
    output = server.home / "output"
    before = output.read_text().count("password authentication failed")

    async def dialogue() -> None:
        async with engine(server.arguments()[0], secret="canary-4711") as opened:
            with within(AT_ONCE_SECONDS):
                assert set(await all_told(opened)) == {"OperationalError 28P01"}

    asyncio.run(dialogue())
    assert 1 <= output.read_text().count("password authentication failed") - before <= 3
    assert "error connecting" in caplog.text
    assert "canary" not in caplog.text


def test_a_server_that_says_nothing_is_told_before_the_deadline_of_a_module(server: Postgresql) -> None:
    """And once it speaks again it is asked by who comes next."""

    async def dialogue() -> None:
        async with engine(server.arguments()[0]) as opened:
            with server.stalled():
                answers = await asyncio.wait_for(all_told(opened), patient(Terms().timeout))
                assert set(answers) == {"ConnectionTimeout"}
            assert await told(opened) == FOUND

    asyncio.run(dialogue())


def test_connections_that_are_dead_are_found_out_together(server: Postgresql) -> None:
    """Nobody notices that they have been, and nobody is kept waiting where the server is gone with them."""

    async def dialogue() -> None:
        async with engine(server.arguments()[0], SLOW) as opened:
            assert set(await all_told(opened)) == {FOUND}
            server.run(END)
            with within(AT_ONCE_SECONDS):
                assert await told(opened) == FOUND
            await asyncio.sleep(2 * FRESH_SECONDS)
            server.run(END)  # those, too, that nobody has used yet
            assert set(await all_told(opened)) == {FOUND}
            server.kill()
            with within(AT_ONCE_SECONDS):
                assert await told(opened) == NOBODY_LISTENS
                assert set(await all_told(opened)) == {NOBODY_LISTENS}
            await asyncio.to_thread(server.start)
            while await told(opened) == "OperationalError 57P03":  # it is starting up
                await asyncio.sleep(0.05)
            assert set(await all_told(opened)) == {FOUND}

    asyncio.run(dialogue())


@asynccontextmanager
async def pooler(server: Postgresql, types: bytes) -> AsyncIterator[str]:
    """The URL of one that has lost its server: it hangs up at a message of one of these types."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, words = await asyncio.open_connection(LOOPBACK, server.port)
        while (said := await reader.read(65536)) and said[0] not in types:
            words.write(said)
            writer.write(await answers.read(65536))
        await asyncio.sleep(0.1)
        words.close()
        writer.close()

    listening = await asyncio.start_server(relay, LOOPBACK, 0)
    async with listening:
        yield server.arguments()[0].replace(str(server.port), str(listening.sockets[0].getsockname()[1]))


def test_a_connection_that_is_good_for_nothing_is_told_to_who_asks(server: Postgresql) -> None:
    """The pool alone would make one after the other until his time is up."""

    async def dialogue() -> None:
        async with pooler(server, b"PQ") as url, engine(url) as opened:  # Parse, Query
            for _ in range(2):
                with within(AT_ONCE_SECONDS):
                    assert await told(opened) == "OperationalError"

    asyncio.run(dialogue())


def test_an_engine_that_is_closed_while_it_connects_stays_closed(server: Postgresql) -> None:
    async def dialogue() -> None:
        async with pooler(server, b"p") as url:  # SASLInitialResponse
            async with engine(url) as opened:
                asking = [asyncio.ensure_future(told(opened)) for _ in range(2)]
                await asyncio.sleep(0.05)
            assert set(await asyncio.gather(*asking)) == {"OperationalError"}

    asyncio.run(dialogue())


def test_who_gives_up_costs_the_others_no_connection(server: Postgresql) -> None:
    """While he waits for one, while it is made, and in the middle of his question."""

    async def dialogue() -> None:
        async with engine(f"{server.arguments()[0]}?application_name=given-up", SLOW) as opened:
            for turn in range(CONNECTIONS):
                asking = [asyncio.ensure_future(told(opened)) for _ in range(MANY)]
                await asyncio.sleep(0.02 * turn)
                for task in asking[::2]:
                    task.cancel()
                answers = await asyncio.gather(*asking, return_exceptions=True)
                assert set(answers[1::2]) == {FOUND}
            assert await most_while_many_ask(server, opened, "given-up") == (CONNECTIONS, CONNECTIONS)

    asyncio.run(dialogue())


def test_the_next_host_of_a_url_is_asked_where_the_first_is_gone(server: Postgresql) -> None:
    async def dialogue() -> None:
        gone = f"{LOOPBACK}:{free_port()}"
        for hosts, answer in ((f"{gone},{LOOPBACK}:{server.port}", FOUND), (f"{gone},{gone}", NOBODY_LISTENS)):
            async with engine(f"postgresql://popular@{hosts}/mail") as opened:
                assert set(await all_told(opened)) == {answer}

    asyncio.run(dialogue())
