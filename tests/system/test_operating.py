"""Drains, kicks, holds, locks and moves, over real workers: who is ended when, and who comes in where."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.site import LOOPBACK, PATIENCE, PopClient, Proxy, ScriptedBackend, free_port, program, wait_until
from tests.system.wire import Peer, commands

WRONG = b"-ERR [AUTH] the user name or the password is wrong"
LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later"
MAIL = b"x" * 70 + b"\r\n"
NAMES = ("ann", "bob", "eve", "joe", "kim", "lea", "max")


class Store:
    """A storage server that says its name in the greeting of a login, and holds back what a test wants it to."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.goes_on = threading.Event()
        """The rest of a mail, and the answer to QUIT, wait for it."""
        self.goes_on.set()
        self.quits: list[bool] = []
        self.backend = ScriptedBackend(self._play)

    def _play(self, peer: Peer) -> None:
        is_in = False
        peer.say(b"+OK\r\n")
        for line in commands(peer):
            match line.strip().upper().partition(b" ")[0]:  # blanks in front are skipped, as Courier does
                case b"CAPA":
                    peer.say(b"-ERR\r\n")
                case b"PASS":
                    is_in = True
                    peer.say(b"+OK %s\r\n" % self.name)
                case b"RETR":
                    peer.say(b"+OK\r\n" + MAIL)
                    assert self.goes_on.wait(PATIENCE)
                    peer.say(MAIL + b".\r\n")
                case b"QUIT":
                    assert self.goes_on.wait(PATIENCE)
                    self.quits += [True] if is_in else []  # who only asks for CAPA says it too
                    peer.say(b"+OK bye\r\n")
                    return
                case _:
                    peer.say(b"+OK\r\n")


class Site:
    """Two stores, and a proxy that leads every user to the first."""

    def __init__(
        self,
        directory: Path,
        options: Sequence[str] = (),
        stores: tuple[Store, Store] | None = None,
        names: Sequence[str] = NAMES,
    ) -> None:
        self.stores = stores or (Store(b"one"), Store(b"two"))
        self.port = free_port()
        users = directory / "users"
        users.write_text("".join(f"default:{name}:{{PLAIN}}secret:one:\n" for name in names))
        rc = [
            *(
                f"backend conf {store.name.decode()} host {LOOPBACK} port {store.backend.port} state online"
                for store in self.stores
            ),
            f"pdm add users passwd {users}",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default state online",
        ]
        self.proxy = Proxy(directory, rc, workers=2, options=options)

    def log_in(self, stack: ExitStack, user: str) -> PopClient:
        client = stack.enter_context(PopClient(self.port))
        assert client.log_in(user).startswith(b"+OK")
        return client

    def tries(self, user: str) -> bytes:
        with PopClient(self.port) as client:
            return client.log_in(user)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("operating"))
    with made.stores[0].backend, made.stores[1].backend, made.proxy:
        yield made


def test_a_kick_knows_pop3(site: Site) -> None:
    """Who loses nothing goes at once, a transfer when it is done, deletes at the deadline, and a QUIT has its reply."""
    store, proxy = site.stores[0], site.proxy
    with ExitStack() as stack:
        idle, other, moving, deletes, quits = (site.log_in(stack, name) for name in NAMES[:5])
        assert deletes.ask("DELE 1") == b"+OK"
        time.sleep(1.1)  # so long a session that said something counts as busy
        store.goes_on.clear()
        quits.say(b"DELE 1\r\n")
        assert quits.line() == b"+OK"
        quits.say(b"QUIT\r\n")
        moving.say(b"RETR 1\r\n")
        assert moving.line() == b"+OK"
        wait_until(lambda: sum(row["deletes"] for row in proxy.sessions()) >= 1, "the table shows the deletes")
        said = proxy.said("kick backend one deadline 3s")
        found = "2 idle, 1 in a transfer, 1 with uncommitted deletes, 1 committing"
        assert said.text == f"backend one: {found}; 3 left, ended in 3 s at the latest, after QUIT in 63 s"
        assert idle.rest() == other.rest() == b""
        assert proxy.json("kick list")[0]["left"] == 3
        assert site.tries("max") == b"+OK one"  # a kick is about those that were there
        assert deletes.rest() == b""  # at the deadline, and not before
        assert moving.rest() == MAIL
        wait_until(lambda: proxy.json("kick list")[0]["left"] == 1, "only the QUIT is left")
        store.goes_on.set()
        assert quits.rest() == b"+OK bye\r\n"
        wait_until(lambda: not proxy.json("kick list"), "nobody is left")
    assert sorted(proxy.endings()[:5]).count("kicked") >= 3
    assert proxy.log("session_bug") == []


def test_a_transfer_goes_to_its_end(site: Site) -> None:
    """And then its session does."""
    store, proxy = site.stores[0], site.proxy
    with ExitStack() as stack:
        moving = site.log_in(stack, "eve")
        store.goes_on.clear()
        moving.say(b"RETR 1\r\n")
        assert moving.line() == b"+OK"
        time.sleep(1.1)
        assert proxy.said("kick user eve").text == "user eve: 1 in a transfer"
        control = [program("pcontrol"), "-r", str(proxy.rundir), "--wait", "kick", "user", "eve"]
        waits = subprocess.Popen(control, stdout=subprocess.PIPE, text=True)
        assert waits.stdout is not None
        assert waits.stdout.readline() == "user eve: 1 in a transfer\n", "what there was is told without -v too"
        assert "user default:eve: 1 in a transfer" in waits.stdout.readline()
        store.goes_on.set()
        assert waits.communicate()[0] == "nobody is left\n"
        assert waits.returncode == 0
        assert moving.rest() == MAIL + MAIL + b".\r\n"


def test_a_drain_lets_nobody_new_in(site: Site) -> None:
    """In no worker, from the answer on; who is there goes on, until the deadline; `state` stays as it is."""
    with ExitStack() as stack:
        stays = site.log_in(stack, "joe")
        assert site.proxy.said("backend drain one").text.startswith("backend one is drained: 1 ")
        assert {site.tries("ann") for _ in range(6)} == {LATER}
        assert stays.ask("STAT") == b"+OK"
        assert "backend conf one" in " ".join(site.proxy.said("show config").lines)
        site.proxy.said("backend drain one deadline 1s")
        assert stays.rest() == b""
        site.proxy.said("backend undrain one")
        assert site.tries("ann") == b"+OK one"
        site.proxy.said("vserv drain v1")
        assert site.tries("ann") == LATER
        site.proxy.said("vserv undrain v1")
        assert site.proxy.said("state list").lines == ["nothing is ordered"]
    assert "drained" in site.proxy.endings()


def test_who_is_held_waits_and_who_is_locked_is_refused(site: Site) -> None:
    """A hold delays and does not refuse, until release; a lock ends sessions, and looks like a wrong password."""
    proxy = site.proxy
    with ExitStack() as stack:
        proxy.said("user hold ann for 20s")
        held = stack.enter_context(PopClient(site.port))
        held.say(b"USER ann\r\nPASS secret\r\n")
        assert [held.line(), held.line()][1] == b"+OK send PASS"
        assert site.tries("bob") == b"+OK one"
        assert [row["user"] for row in proxy.json("user list")] == ["default:ann"]
        proxy.said("user release ann")
        assert held.line() == b"+OK one"
        proxy.said("user hold ann for 1s")
        assert site.tries("ann") == LATER
        proxy.said("user release ann")
        stays = site.log_in(stack, "joe")
        time.sleep(1.1)
        assert proxy.said("user lock joe").text == "user default:joe is locked: 1 idle"
        assert stays.rest() == b""
        busy, deletes = site.log_in(stack, "kim"), site.log_in(stack, "lea")
        assert deletes.ask("DELE 1") == b"+OK"
        busy.ask("NOOP")
        assert re.search(": 1 in a transfer; 1 left, ended in 1 s", proxy.said("user lock kim deadline 1s").text)
        assert _polled_to_its_end(busy), "who says NOOP again and again is ended at the deadline"
        assert proxy.said("user lock lea deadline 0").text.endswith(": 1 with uncommitted deletes")
        assert deletes.rest() == b""
        proxy.said("user unlock kim")
        proxy.said("user unlock lea")
        assert site.tries("joe") == WRONG
        proxy.said("user unlock joe")
        assert site.tries("joe") == b"+OK one"
        assert not proxy.control("user unlock joe").ok


@pytest.mark.parametrize(
    ("command", "does", "end", "reply"),
    [
        ("user lock joe", "refuses him as if his password were wrong", "user unlock joe", WRONG),
        ("user hold joe for 1s", "lets him wait", "user release joe", LATER),
        ("backend drain one", "lets nobody new in", "backend undrain one", LATER),
        ("vserv drain v1", "lets nobody new in", "vserv undrain v1", LATER),
        ("backend drain one new fake", "shows him an empty mailbox", "backend undrain one", b"+OK 0 messages"),
    ],
)
def test_explain_names_the_order_by_which_it_is_so(site: Site, command: str, does: str, end: str, reply: bytes) -> None:
    """Whoever asks why joe does not get in is told what somebody has ordered, and since when."""
    site.proxy.said(command)
    told = site.proxy.said("explain joe").lines
    site.proxy.said(end)
    (line,) = [line for line in told if line.startswith("ordered ")]
    sort = " ".join(command.split()[:2])
    assert re.fullmatch(rf"ordered    {sort} \S+ since \S+Z: {does}", line)
    assert any(line.startswith(f"reply      {reply.decode()}") for line in told)
    assert site.proxy.json("explain joe")["ordered"] == []


def _polled_to_its_end(client: PopClient) -> bool:
    """Whether a client that never rests is ended."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            client.say(b"NOOP\r\n")
            client.line()
        except (AssertionError, OSError):  # the end comes in the middle of anything
            return True
        time.sleep(0.1)
    return False


def copier(directory: Path, body: str) -> list[str]:
    """Options for a proxy with a move command that does this; its arguments are written down first."""
    path = directory / "copy"
    path.write_text(f'#!/bin/sh\necho "$@" >> {directory}/copied\n{body}\n')
    path.chmod(0o755)
    return ["--move-command", str(path)]


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Site]:
    """A site with a move command that fails for kim, and hangs for lea until it is killed."""
    body = 'case "$2" in kim) echo "no room" >&2; exit 3;; lea) exec sleep 60;; esac'
    made = Site(tmp_path, copier(tmp_path, body))
    with made.stores[0].backend, made.stores[1].backend, made.proxy:
        yield made


def test_a_user_is_moved_while_he_polls(moving: Site, tmp_path: Path) -> None:
    """He waits and is not refused, and comes in where he is led to; a move that fails has changed nothing. Killed in
    the middle of a move, the next start takes it back, and knows those that were answered.
    """
    proxy = moving.proxy
    with ExitStack() as stack:
        stays = moving.log_in(stack, "ann")
        deletes = moving.log_in(stack, "bob")
        assert deletes.ask("DELE 1") == b"+OK"
        said = proxy.said("user move ann two").text
        held = re.fullmatch(
            "user default:ann is moved from one to two; note: held for ([0-9.]+) s; note: it holds for this proxy only",
            said,
        )
        assert held is not None
        assert proxy.state().gauges()["longest_move_hold_ms"] == pytest.approx(1000 * float(held[1]), abs=6)
        assert stays.rest() == b""
        assert {moving.tries("ann") for _ in range(4)} == {b"+OK two"}
        assert not proxy.control("user move ann two").ok
        late = proxy.control("user move bob two timeout 1s")
        assert not late.ok
        left = "after 1 s there is still: 1 with uncommitted deletes; `deadline TIME` ends who stays; everything is as "
        assert late.text.startswith(f"{left}it was before; note: held for 1.")
        assert deletes.ask("STAT") == b"+OK"
        assert proxy.control("user move bob two deadline 0").ok
        assert deletes.rest() == b""
        assert proxy.control("user unmove bob").ok
    assert "exit code 3: no room; everything is as it was before" in proxy.control("user move kim two").text
    assert "was not done in time" in proxy.control("user move lea two timeout 1s").text
    assert {moving.tries(name) for name in ("bob", "kim", "lea")} == {b"+OK one"}
    proxy.said("user move joe two")
    proxy.said("user unmove joe")
    assert moving.tries("joe") == b"+OK one"
    assert (tmp_path / "copied").read_text().splitlines() == [
        "default ann one two",
        "default bob one two",
        "default bob two one",
        "default kim one two",
        "default lea one two",
        "default joe one two",
        "default joe two one",
    ]
    assert [(row["user"], row["is"]) for row in proxy.json("user list")] == [("default:ann", "moved")]

    def interrupted() -> None:
        with pytest.raises(OSError):
            proxy.control("user move lea two")

    control = threading.Thread(target=interrupted, daemon=True)
    control.start()
    wait_until(lambda: (tmp_path / "copied").read_text().count("lea") == 2, "the command runs")
    assert not proxy.control("user release lea").ok
    born = len(proxy.log("worker_born"))
    os.kill(proxy.workers()[0], signal.SIGKILL)  # that of a worker changes nothing
    wait_until(lambda: len(proxy.log("worker_born")) > born, "it has a successor")
    assert [(row["sort"], row["id"]) for row in proxy.json("state list")] == [
        ("user hold", "default:lea"),
        ("user move", "default:lea"),
        ("user route", "default:ann"),
    ]
    proxy.kill_master()
    control.join()
    again = Site(tmp_path, copier(tmp_path, "exit 0"), stores=moving.stores)
    with again.proxy:
        assert again.proxy.log("order_undone")[-1].fields["order"] == "user move default:lea"
        assert (again.tries("lea"), again.tries("ann")) == (b"+OK one", b"+OK two")
