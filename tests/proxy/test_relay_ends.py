"""When a relay is near its end: whether it only waits for a backend's last words, and what a cut would lose."""

from typing import Any

import pytest

from popular.net.channel import Channel
from popular.protocol.watch import MAIL_END
from popular.proxy.session.optional_steps import _standing
from supervisor.serving.session import CutCost
from tests.proxy.test_relay import Joined, joined


class Enciphered(Channel):
    """A connection that its owner takes for one in TLS."""

    def __init__(self, core: Any, fd: int, watcher: Any) -> None:
        super().__init__(core, fd, watcher)
        self.tls = True


BOTH = pytest.mark.parametrize("backend", [Channel, Enciphered])


def talk(one: Joined, *said: str | bytes) -> None:
    """What the client says is a text, what the backend answers are octets; each has passed when the next is said."""
    relay = one.relay
    for piece in said:
        if isinstance(piece, str):
            passed = relay.from_client + len(piece)
            one.client.sendall(piece.encode())
            one.turn(lambda passed=passed: relay.from_client == passed and not relay._for_backend)  # type: ignore[misc]
        else:
            passed = relay.to_client + len(piece)
            one.backend.sendall(piece)
            one.turn(lambda passed=passed: relay.to_client == passed and not relay._for_client)  # type: ignore[misc]


def is_done(one: Joined) -> None:
    """The client sends nothing more."""
    one.client.shutdown(1)
    one.turn(lambda: one.relay._client_eof)


@BOTH
@pytest.mark.parametrize(
    ("said", "standing"),
    [
        (["STAT\r\n", b"+OK 0 0\r\n"], "lingering"),
        (["QUITX\r\n", b"-ERR what?\r\n"], "lingering"),
        (["QUIT\r\n", b"+OK bye\r\n"], "lingering after QUIT"),
        (["QUIT now\r\n", b"-ERR what?\r\n"], "lingering after QUIT"),
        (["DELE 1\r\n", b"+OK\r\n", "QUIT\r\n"], "committing"),
    ],
)
def test_who_waits_for_a_gone_client(backend: Any, said: list[str | bytes], standing: str) -> None:
    """A backend that has answered all and does not close keeps no session for long, in clear as in TLS; between QUIT
    and its answer it takes the time it wants.
    """
    with joined(backend=backend) as one:
        talk(one, *said)
        assert not one.relay.lingers, "the client is there"
        is_done(one)
        assert _standing(one.relay) == standing


@pytest.mark.parametrize(("backend", "lingers"), [(Channel, False), (Enciphered, True)])
def test_a_backend_that_was_told_of_the_end_has_time_to_answer(backend: Any, lingers: bool) -> None:
    """It closes by itself then; one in TLS cannot be told."""
    with joined(backend=backend) as one:
        talk(one, "STAT\r\n")
        is_done(one)
        assert one.relay.lingers is lingers


@BOTH
def test_a_client_that_reads_slowly_is_given_his_mail(backend: Any) -> None:
    """While something is held for him nobody is waited for but him, though the backend is quiet."""
    much = b"x" * 4000 + b"\r\n"
    with joined(backend=backend) as one:
        talk(one, "RETR 1\r\n", b"+OK\r\n")
        is_done(one)
        sent = one.relay.to_client
        while not one.relay._for_client or one.relay._flush_scheduled:
            one.backend.sendall(much)
            sent += len(much)
            one.turn(lambda sent=sent: one.relay.to_client == sent)  # type: ignore[misc]
        assert not one.relay.lingers
        took = 0
        while took < sent:
            one.loop.core.run(0.0)
            took += len(one.client.recv(1 << 20))
        assert one.relay.lingers == (backend is not Channel), "in clear it was told, and owes the rest of the mail"
        one.backend.sendall(MAIL_END)
        one.turn(lambda: one.relay.to_client == sent + len(MAIL_END))
        assert one.relay.lingers


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        (["QUITX\r\n", b"-ERR what?\r\n"], CutCost.IDLE),
        (["QUIT now\r\n", b"-ERR what?\r\n"], CutCost.IDLE),
        (["QUIT\r\nSTAT\r\n", b"-ERR what?\r\n+OK 0 0\r\n"], CutCost.IDLE),
        (["DELE 1\r\n", b"+OK\r\n", "QUIT now\r\n", b"-ERR what?\r\n"], CutCost.UNCOMMITTED),
        (["DELE 1\r\n", b"+OK\r\n", "N"], CutCost.UNCOMMITTED),
        (["DELE 1\r\n", b"+OK\r\n", " qu"], CutCost.COMMITTING),
        (["DELE 1\r\n", b"+OK\r\n", "\tQUIT\r\n"], CutCost.COMMITTING),
        (["QUIT\r\n"], CutCost.COMMITTING),
        (["DELE 1\r\nDELE 2\r\nDELE 3\r\n", b"+OK\r\n", "QUIT\r\n", b"+OK\r\n+OK\r\n"], CutCost.COMMITTING),
    ],
)
def test_who_is_spared(said: list[str | bytes], cost: CutCost) -> None:
    """Who has said QUIT, until it is answered, and with deletes who may be in the middle of saying it; nobody else."""
    with joined() as one:
        talk(one, *said)
        one.relay.last_activity -= 2.0  # who said something just now is not idle yet
        assert one.relay.cut_cost() is cost


def test_an_answer_to_quit_that_the_client_has_not_taken() -> None:
    """He is owed it as if it had not come."""
    with joined() as one:
        talk(one, "QUIT\r\n")
        while not one.relay._for_client or one.relay._flush_scheduled:
            one.backend.sendall(b"x" * 4000 + b"\r\n")
            one.loop.core.run(0.0)
        one.backend.sendall(b"+OK bye\r\n")
        assert one.relay.cut_cost() is CutCost.COMMITTING
