"""The module `dovecot` and a server that is played: what a client or one user can do to all others."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from popular.pdm import dovecotconnection
from popular.pdm.breaker import CLOSED
from popular.pdm.contract import CannotTell, ClientResponse, HandedOn, KeysWanted, Question, QuestionFailed, Secret
from popular.pdm.dovecotconnection import AuthConnection
from popular.pdm.dovecotwire import LONGEST_LINE, AuthReply, answer_of, begun
from popular.pdm.guarded import Asking, Guarded, Terms, Unheard
from popular.pdm.libpdm_dovecot import Dovecot
from popular.pdm.steps import KEYS, RESPOND, Step
from tests.patience import PATIENCE

GREETING = b"VERSION\t1\t2\nMECH\tSCRAM-SHA-256\nDONE\n"
CHALLENGE = base64.b64encode(b"r=xy,s=AAECAwQFBgcICQoLDA0ODw==,i=4096")
TOO_MUCH = bytes(LONGEST_LINE)
ANN = Question("192.0.2.1", "POP3", "default", user="ann", password=Secret(b""), vserv="v")
WANTED = KeysWanted("SCRAM-SHA-256", bytes(64), b"n,,n=ann,r=x")


async def challenges(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that has a challenge for everybody."""
    writer.write(GREETING)
    while line := await reader.readline():
        word, number, *_rest = line.rstrip(b"\n").split(b"\t")
        if word == b"AUTH":
            writer.write(b"CONT\t%s\t%s\n" % (number, CHALLENGE))
    writer.close()
    await writer.wait_closed()


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says nothing after its greeting."""
    writer.write(GREETING)
    await reader.read()
    writer.close()
    await writer.wait_closed()


Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def with_server(directory: Path, dialogue: Callable[[str], Awaitable[None]], server: Server = challenges) -> None:
    async def run() -> None:
        path, serving = str(directory / "auth"), list[asyncio.Task[None]]()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.append(asyncio.ensure_future(server(reader, writer)))

        async with await asyncio.start_unix_server(accepted, path):
            await dialogue(path)
            await asyncio.gather(*serving)

    asyncio.run(run())


def test_a_client_that_says_too_much_closes_the_module_to_nobody(tmp_path: Path) -> None:
    """As often as it likes: its own login has failed, and neither is the server down nor does it forget the others."""

    async def dialogue(path: str) -> None:
        guard, how = Guarded(Dovecot("m", (path, "takes", "scram"))), Asking(Terms(breaker=2), Unheard())
        wanted = ANN._replace(proof=WANTED)
        all_shown = [await guard.put(Step(guard.module, KEYS), wanted, how) for _ in range(3)]
        for shown in all_shown:
            assert isinstance(shown, HandedOn), shown
            response = ClientResponse("SCRAM-SHA-256", "m", TOO_MUCH, shown.respond)
            said = await guard.put(Step(guard.module, RESPOND), ANN._replace(proof=response), how)
            assert isinstance(said, CannotTell)
            assert "too long" in said.reason
            assert guard.breaker.state is CLOSED
        await guard.close()

    with_server(tmp_path, dialogue)


def test_a_login_whose_response_was_never_sent_is_still_open(tmp_path: Path) -> None:
    """So it is cancelled, as others are, when there are too many."""

    async def dialogue(path: str) -> None:
        connection = AuthConnection(*await asyncio.open_unix_connection(path), mechanisms={"SCRAM-SHA-256"})
        reply = await connection.ask(ANN, begun(ANN._replace(proof=WANTED)))
        with pytest.raises(QuestionFailed):
            await connection.respond(reply.number, TOO_MUCH)
        assert list(connection._open) == [reply.number]
        await connection.close()

    with_server(tmp_path, dialogue)


def test_a_server_that_hangs_is_not_waited_for_by_those_who_have_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were shown a challenge, as if it held a refusal back; strangers can come for one as often as they like."""
    monkeypatch.setattr(dovecotconnection, "LONGEST_SILENCE", 1.0)

    async def dialogue(path: str) -> None:
        module = Dovecot("m", (path, "takes", "scram"))
        shown = await asyncio.gather(*(module.check(ANN._replace(proof=WANTED)) for _ in range(3)))
        assert all(isinstance(one, HandedOn) for one in shown)
        first = module._connection
        assert first is not None
        assert len(first._waiting) == 3
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({first._listening})
        await asyncio.sleep(0)
        assert not first._waiting
        assert not first.usable
        await module.close()

    with_server(tmp_path, dialogue, hangs)


@pytest.mark.parametrize("word", ["OK", "CONT"])
def test_a_user_without_a_host_closes_the_module_to_nobody(word: str) -> None:
    """His record is faulty, and the server has answered; or it asks for more of one than of others."""
    with pytest.raises(QuestionFailed):
        answer_of(AuthReply(word, 1, {"user": "ann"}), "ann", backend="")


def test_nothing_is_shown_of_a_reply() -> None:
    """A database may have the password for the backend in it."""
    assert "canary" not in repr(AuthReply("OK", 1, {"pass": "canary"}, challenge="canary"))
