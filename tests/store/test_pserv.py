"""`pserv` as processes: the protocol over real sockets, mail in real Maildirs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from popular.store.maildir.maildir import Maildir
from popular.store.pserv.capabilities import BUILT_IN
from supervisor.table.segment import View
from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

PLAIN = b"Subject: one\r\n\r\nhello\r\n"
DOTTED = b".Subject: two\r\n.\r\n\r\n..\r\n.\r\n.x\n.bare\r\nno end"
IMPATIENT = """
import sys
from popular.store.pserv import machine
from popular.store.pserv.program import main
machine.DISK_SECONDS = 0.5
sys.exit(main())
"""
"""pserv that waits half a second for the disk, not a minute."""
MOST_FOR_A_MAIL = 8 << 20
"""Octets by which a worker may grow, whatever the size of a mail: a few pieces, and eight threads that awake."""
SHORT_TIMEOUTS = """
import sys
from dataclasses import replace
from popular.store.pserv.program import PROGRAM
from supervisor.control.language.kinds import Time
from supervisor.main import main
short = [replace(row, kind=Time(1, 9)) if row.name == "idletimeout" else row for row in PROGRAM.variables]
sys.exit(main(replace(PROGRAM, variables=tuple(short))))
"""
"""pserv with an idletimeout for the impatient; the real one is at least ten minutes."""


class Store(Proxy):
    """A running pserv and its mail root."""

    def __init__(self, directory: Path, workers: int = 2, python: str = "", root: Path | None = None) -> None:
        self.root = root or directory / "pop"
        self.root.mkdir(exist_ok=True)
        self.port = free_port()
        rc = [f"set mailboxdir {self.root}", f"server conf iface {LOOPBACK} port {self.port} state online"]
        super().__init__(directory, rc, workers, name="pserv")
        if python:
            self._command = [sys.executable, "-c", python, *self._command[1:]]

    def put(self, mailbox: str, *mails: bytes) -> None:
        """Delivers mails into a mailbox."""
        for mail in mails:
            Maildir(self.root, mailbox).deliver([mail])

    def files(self, mailbox: str) -> dict[str, bytes]:
        """What is in a mailbox: `new/NAME` or `cur/NAME`, and the content."""
        paths = [path for folder in ("new", "cur") for path in (self.root / mailbox / folder).iterdir()]
        return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(paths)}

    def folders(self, mailbox: str) -> list[str]:
        """In which folder each message is, oldest first."""
        names = sorted(self.files(mailbox), key=lambda name: name.partition("/")[2])
        return [name.partition("/")[0] for name in names]

    def open(self, mailbox: str, sid: str = "p.1.1", flags: str = "", receive_buffer: int = 0) -> PopClient:
        """A session on a mailbox; its `greeting` is the answer to the request."""
        client = PopClient(self.port, receive_buffer=receive_buffer)
        client.say(f"{mailbox}\r\n{sid}\r\n{flags}\r\n".encode())
        client.greeting = client.line()
        return client

    def assert_at_rest(self) -> None:
        """No session lives, and each that began has ended once."""
        self.wait_until_quiet()
        counters = self.state().counters()
        assert counters["sessions_started"] == sum(counters["sessions_ended"].values())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as running:
        yield running


def say_all(client: PopClient, *commands: str) -> None:
    """Pipelines commands."""
    client.say("".join(f"{command}\r\n" for command in commands).encode())


def test_a_whole_session(store: Store) -> None:
    """The mailbox is served by RFC 1939: counts, listings, messages with their dots, deletion, CAPA, QUIT."""
    store.put("3/joe", PLAIN, DOTTED)
    total = len(PLAIN) + len(DOTTED)
    with store.open("3/joe") as client:
        assert client.greeting == f"+OK 2 messages ({total} octets)".encode()
        assert client.ask("STAT") == f"+OK 2 {total}".encode()
        assert client.ask("LIST").startswith(b"+OK")
        assert client.block() == [f"1 {len(PLAIN)}".encode(), f"2 {len(DOTTED)}".encode()]
        assert client.ask("UIDL").startswith(b"+OK")
        assert len({line.split()[1] for line in client.block()}) == 2
        assert client.retrieve(1) == PLAIN
        assert client.ask("TOP 1 0").startswith(b"+OK")
        assert client.block() == [b"Subject: one", b""]
        assert client.ask("CAPA").startswith(b"+OK")
        assert client.block() == [line.encode() for line in BUILT_IN]
        assert client.ask("DELE 1") == b"+OK message 1 deleted"
        assert client.ask("RETR 1") == b"-ERR message 1 is deleted"
        assert client.ask("USER joe").startswith(b"-ERR")
        assert client.ask("QUIT") == b"+OK bye"
        assert client.rest() == b""
    assert list(store.files("3/joe").values()) == [DOTTED]
    assert store.folders("3/joe") == ["new"]


def test_dots_and_bare_line_ends(store: Store) -> None:
    """A mail with dots everywhere, a bare LF and no line end goes out in CRLF, and cannot end itself."""
    store.put("joe", DOTTED)
    with store.open("joe") as client:
        assert client.ask("RETR 1").startswith(b"+OK")
        expected = b"..Subject: two\r\n..\r\n\r\n...\r\n..\r\n..x\r\n..bare\r\nno end\r\n.\r\n"
        assert client.exactly(len(expected)) == expected
        assert client.ask("NOOP") == b"+OK"


def test_one_log_line_tells_the_story(store: Store) -> None:
    """The session's only line has the id of the request, mailbox, ending and counts; so has its row while it lives."""
    store.put("a/joe", PLAIN, PLAIN)
    with store.open("a/joe", "p02.990738012.7845", "M") as client:
        client.retrieve(1)
        client.ask("DELE 2")
        (row,) = store.sessions()
        assert (row["sid"], row["mailbox"], row["flags"]) == ("p02.990738012.7845", "a/joe", "M")
        assert row["state"] == "waiting for a command"
        client.ask("QUIT")
    assert store.wait_for_endings(1) == ["quit"]
    (entry,) = store.log(sid="p02.990738012.7845")
    assert entry.name == "session_end"
    told = {key: entry.fields[key] for key in ("client", "mailbox", "flags", "ending", "retrieved", "deleted")}
    assert told == {
        "client": LOOPBACK,
        "mailbox": "a/joe",
        "flags": "M",
        "ending": "quit",
        "retrieved": "1",
        "deleted": "1",
    }
    assert int(entry.fields["received"]) > 40
    assert int(entry.fields["sent"]) > len(PLAIN)
    counters = store.state().counters()
    assert (counters["opened"], counters["retrieved"], counters["deleted"]) == (1, 1, 1)


def test_a_session_without_an_id_gets_one(store: Store) -> None:
    """`-` and the empty line stand for no id: pserv makes its own."""
    for sid in ("-", ""):
        with store.open("joe", sid) as client:
            assert client.ask("QUIT") == b"+OK bye"
    store.wait_for_endings(2)
    sids = [entry.sid for entry in store.log("session_end")]
    assert len(set(sids)) == 2
    assert all(sid.startswith("pserv.") for sid in sids)


def test_a_mailbox_that_does_not_exist_is_empty(store: Store) -> None:
    """Nobody has to make a mailbox before mail comes."""
    with store.open("no/such/box") as client:
        assert client.greeting == b"+OK 0 messages (0 octets)"
        assert client.ask("QUIT") == b"+OK bye"
    assert not (store.root / "no").exists()


def test_what_was_read_moves_to_cur(store: Store) -> None:
    """RETR and QUIT move a message from new to cur, under the same unique id; TOP does not, nor does a master."""
    store.put("joe", PLAIN, PLAIN, PLAIN)
    with store.open("joe") as client:
        client.ask("UIDL")
        before = client.block()
        client.retrieve(2)
        client.ask("TOP 1 5")
        client.block()
        client.ask("QUIT")
    assert store.folders("joe") == ["new", "cur", "new"]
    with store.open("joe", flags="M") as client:
        client.ask("UIDL")
        assert client.block() == before
        client.retrieve(1)
        client.ask("DELE 3")
        assert client.ask("QUIT") == b"+OK bye"
    assert store.folders("joe") == ["new", "cur"]


def test_rset_and_leaving_without_quit_change_nothing(store: Store) -> None:
    """RSET takes deletions back; a client that closes or vanishes has deleted and read nothing."""
    store.put("joe", PLAIN, DOTTED)
    before = store.files("joe")
    with store.open("joe") as client:
        client.ask("DELE 1")
        assert client.ask("RSET").startswith(b"+OK 2 messages")
        assert client.ask("QUIT") == b"+OK bye"
    with store.open("joe") as client:
        client.retrieve(1)
        client.ask("DELE 2")
    with store.open("joe") as client:
        client.ask("DELE 1")
        client.reset()
    assert sorted(store.wait_for_endings(3)) == ["client_closed", "client_reset", "quit"]
    assert store.files("joe") == before


def test_a_client_that_vanishes_behind_quit(store: Store) -> None:
    """QUIT was given: the UPDATE is done though nobody waits for its reply, and the session ends once."""
    for number in range(50):
        store.put(f"joe{number}", PLAIN, PLAIN)
        with store.open(f"joe{number}") as client:
            say_all(client, "DELE 1", "DELE 2", "QUIT")
            assert client.line() == b"+OK message 1 deleted"
            client.reset()
    endings = store.wait_for_endings(50)
    assert set(endings) <= {"client_reset", "quit"}
    assert "client_reset" in endings
    assert [number for number in range(50) if store.files(f"joe{number}")] == []
    store.assert_at_rest()


def test_pipelined_commands_are_answered_in_order(store: Store) -> None:
    """A whole session in one segment, with the half-close after it, is answered in order to its end."""
    mails = [b"Subject: %d\r\n\r\n" % number + b"x" * (70_000 * number) + b"\r\n" for number in range(4)]
    store.put("joe", *mails)
    with PopClient(store.port) as client:
        numbers = [3, 1, 4, 2]
        commands = [f"{verb} {number}{lines}" for number in numbers for verb, lines in (("RETR", ""), ("TOP", " 0"))]
        client.say("\r\n".join(["joe", "s", "", *commands, "DELE 1", "STAT", "QUIT", ""]).encode())
        client.half_close()
        assert client.line().startswith(b"+OK 4 messages")
        for number in numbers:
            assert client.line().startswith(b"+OK")
            assert b"".join(line + b"\r\n" for line in client.block()) == mails[number - 1]
            assert client.line().startswith(b"+OK")
            assert client.block() == [b"Subject: %d" % (number - 1), b""]
        assert client.line() == b"+OK message 1 deleted"
        assert client.line() == f"+OK 3 {sum(map(len, mails[1:]))}".encode()
        assert client.line() == b"+OK bye"
        assert client.rest() == b""
    assert store.folders("joe") == ["cur"] * 3


def test_thousands_of_pipelined_commands(store: Store) -> None:
    """10,000 NOOPs, sent before any answer is read, get 10,000 answers."""
    with store.open("joe") as client:
        client.say(b"NOOP\r\n" * 10_000)
        assert client.exactly(50_000) == b"+OK\r\n" * 10_000
        assert client.ask("QUIT") == b"+OK bye"


def test_pipelined_listings_of_a_large_mailbox(store: Store) -> None:
    """Who asks for many listings and does not read them costs one listing; others are served meanwhile."""
    store.put("big", PLAIN)
    (name,) = [path.name for path in (store.root / "big/new").iterdir()]
    for number in range(20_000):
        os.link(store.root / "big/new" / name, store.root / f"big/new/{number}.1-000000-00000000_{len(PLAIN)}")
    with store.open("big", receive_buffer=4096) as greedy:
        for _ in range(10):
            greedy.say(b"UIDL\r\n" * 100)
        before = memory(store)
        for _ in range(4):
            with store.open("joe") as other:
                assert other.ask("QUIT") == b"+OK bye"
        assert memory(store) - before < 32 << 20


@pytest.mark.slow
def test_a_listing_of_100_000_mails_lets_others_go_on(tmp_path: Path) -> None:
    """While one client's mailbox is opened, and while it is sent 8 MB of unique ids, another client of the same worker
    is answered again and again.

    In one go the sorting, or the listing, kept the worker for a good part of the time that it takes. And who does not
    take the listing costs the worker a piece of it.
    """
    with Store(tmp_path, workers=1) as store:
        folder = store.root / "big/cur"
        folder.mkdir(parents=True)
        for number in range(100_000):
            os.close(
                os.open(folder / f"{number * 7919 % 100_000}.1-000000-00000000-{'x' * 40}_0", os.O_CREAT | os.O_WRONLY)
            )
        with (
            ThreadPoolExecutor(1) as threads,
            PopClient(store.port) as reader,
            store.open("joe") as other,
        ):
            for question, answer, lines in ((b"big\r\ns\r\n\r\n", line_read, 1), (b"UIDL\r\n", listed, 100_000)):
                reader.say(question)
                waits = []
                begun = asked = time.monotonic()
                taking = threads.submit(answer, reader)
                while not taking.done():
                    asked = time.monotonic()
                    assert other.ask("NOOP") == b"+OK"
                    waits.append(time.monotonic() - asked)
                assert taking.result() == lines
                assert len(waits) >= 20
                assert max(waits) < (asked - begun) / 4
        with store.open("big", receive_buffer=4096) as lazy, store.open("joe") as other:
            before = memory(store)
            lazy.say(b"UIDL\r\n" * 10)
            for _ in range(50):
                assert other.ask("NOOP") == b"+OK"
            assert memory(store) - before < 2 << 20


def line_read(client: PopClient) -> int:
    """Takes one positive line."""
    assert client.line().startswith(b"+OK")
    return 1


def listed(client: PopClient) -> int:
    """How many lines the listing has that comes now: read in large pieces, since this must not be what is slow."""
    count, end = 0, b""
    while not end.endswith(b"\r\n.\r\n"):
        piece = client.connection.recv(1 << 20)
        assert piece
        count += piece.count(b"\n")
        end = (end + piece)[-5:]
    return count - 2


def memory(store: Store) -> int:
    """Octets of private memory of the fullest worker."""
    return max(
        int(line.split()[1]) * 1024
        for pid in store.workers()
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Private_Dirty:")
    )


def test_a_large_mail_to_a_slow_reader(store: Store) -> None:
    """50 MB arrive unchanged; while nobody takes them the worker holds a few pieces of it, and serves others."""
    line = b".line that begins with a dot\r\n"
    head, count = b"Subject: large\r\n\r\n", 50_000_000 // len(line)
    store.put("joe", head + line * count)
    before = memory(store)
    with store.open("joe", receive_buffer=1 << 16) as client:
        client.say(b"RETR 1\r\n")
        for _ in range(5):
            with store.open("ann", "other") as other:
                assert other.ask("QUIT") == b"+OK bye"
        assert memory(store) - before < MOST_FOR_A_MAIL
        assert client.line() == f"+OK {len(head) + len(line) * count} octets".encode()
        assert take(client, len(head) + (1 + len(line)) * count) == head + (b"." + line) * count
        assert client.line() == b"."
        assert client.ask("TOP 1 1").startswith(b"+OK")
        assert client.block() == [b"Subject: large", b"", line[:-2]]
        assert client.ask("QUIT") == b"+OK bye"
    assert memory(store) - before < MOST_FOR_A_MAIL


def take(client: PopClient, count: int) -> bytes:
    """So many octets, in one go: for large mails."""
    taken = bytearray(client.heard)
    client.heard = b""
    while len(taken) < count:
        piece = client.connection.recv(min(1 << 20, count - len(taken)))
        assert piece, f"closed after {len(taken)} octets"
        taken += piece
    return bytes(taken)


def test_two_sessions_on_one_mailbox(store: Store) -> None:
    """What the other session removed gives an error, what it moved is found; QUIT does not mind."""
    store.put("joe", PLAIN, PLAIN, PLAIN)
    with store.open("joe") as first, store.open("joe") as second:
        first.ask("DELE 1")
        first.retrieve(2)
        assert first.ask("QUIT") == b"+OK bye"
        assert second.ask("RETR 1") == b"-ERR message 1 is no longer there"
        assert second.ask("TOP 1 0") == b"-ERR message 1 is no longer there"
        assert second.retrieve(2) == PLAIN
        assert second.retrieve(3) == PLAIN
        second.ask("DELE 1")
        second.ask("DELE 2")
        assert second.ask("QUIT") == b"+OK bye"
    assert store.wait_for_endings(2) == ["quit", "quit"]
    assert store.folders("joe") == ["cur"]


def test_a_message_removed_while_it_is_sent(store: Store) -> None:
    """A session that has begun to send a message sends it to its end, though another removes it."""
    mail = (b"x" * 78 + b"\r\n") * 100_000
    store.put("joe", mail)
    with store.open("joe", receive_buffer=1 << 14) as reader, store.open("joe") as remover:
        assert reader.ask("RETR 1").startswith(b"+OK")
        remover.ask("DELE 1")
        assert remover.ask("QUIT") == b"+OK bye"
        assert store.files("joe") == {}
        assert take(reader, len(mail) + 3) == mail + b".\r\n"
        assert reader.ask("QUIT") == b"+OK bye"


# Wrong requests, wrong mailboxes


def test_a_pop3_client_is_sent_away(store: Store) -> None:
    """Who says USER gets a clear error, and the log a line; who waits for a greeting gets one after requesttimeout."""
    with PopClient(store.port) as client:
        client.say(b"USER joe\r\n")
        assert b"this is a storage server for POP3 proxies (XPOP)" in client.line()
        assert client.rest() == b""
    store.said("set requesttimeout 1s")
    with PopClient(store.port) as client:
        assert b"this is a storage server for POP3 proxies (XPOP)" in client.line()
        assert client.rest() == b""
    assert store.wait_for_endings(2) == ["bad_request", "request_timeout"]
    (entry,) = store.log("bad_request")
    assert entry.fields["client"] == LOOPBACK


def test_nobody_leaves_the_mail_root(store: Store) -> None:
    """Names that lead elsewhere are refused; links inside are not followed; neither is told from other trouble."""
    (store.root / "link").symlink_to(store.root.parent)
    for name in ("../pop/joe", "/etc", "a/../b", "a//b", "joe smith"):
        with store.open(name) as client:
            assert client.greeting.startswith(b"-ERR [SYS/PERM] "), name
    with store.open("link/pop") as client:
        assert client.greeting.startswith(b"-ERR [SYS/TEMP] ")
    store.wait_for_endings(6)
    assert len(store.log("bad_request")) == 5
    (entry,) = store.log("dir_access_failed")
    assert entry.fields["mailbox"] == "link/pop"


def test_a_mail_root_that_is_not_there(store: Store) -> None:
    """An unmounted disk is trouble, not an empty mailbox; it heals by itself."""
    store.put("joe", PLAIN)
    store.root.rename(store.root.with_name("unmounted"))
    with store.open("joe") as client:
        assert client.greeting.startswith(b"-ERR [SYS/TEMP] the mailbox cannot be opened")
        assert str(store.root).encode() not in client.greeting
        assert client.rest() == b""
    assert store.wait_for_endings(1) == ["mailbox_failed"]
    store.root.with_name("unmounted").rename(store.root)
    with store.open("joe") as client:
        assert client.greeting.startswith(b"+OK 1 message ")
        shutil.rmtree(store.root / "joe")
        (store.root / "joe").symlink_to(store.root)
        assert client.ask("RETR 1").startswith(b"-ERR [SYS/TEMP] the message cannot be read")
        client.ask("DELE 1")
        assert client.ask("QUIT").startswith(b"-ERR [SYS/TEMP] the mailbox cannot be updated")
    assert store.wait_for_endings(2)[1] == "update_failed"
    assert (len(store.log("read_failed")), len(store.log("update_failed"))) == (1, 1)


def test_odd_files_are_logged_but_not_without_end(store: Store) -> None:
    """What is no message is not listed; the log has the first twenty and the number of the others."""
    store.put("joe", PLAIN)
    for number in range(30):
        (store.root / f"joe/new/{number}").mkdir()
    with store.open("joe", "odd.1") as client:
        assert client.greeting.startswith(b"+OK 1 message ")
        client.ask("QUIT")
    store.wait_for_endings(1)
    entries = store.log("not_a_message", sid="odd.1")
    assert len(entries) == 21
    assert entries[-1].fields["reason"] == "and 10 more files"


@pytest.mark.parametrize(
    ("said", "ending", "answer"),
    [
        (b"joe\r\ns\r\n\r\nNO\0OP\r\n", "null_byte", b"+OK 0 messages (0 octets)\r\n"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00", "null_byte", b""),
        (b"x" * 5000, "line_too_long", b"-ERR the line is too long\r\n"),
        (
            b"joe\r\ns\r\n\r\n" + b"x" * 5000,
            "line_too_long",
            b"+OK 0 messages (0 octets)\r\n-ERR the line is too long\r\n",
        ),
        (b"joe\r\ns\r\n", "client_closed", b""),
    ],
)
def test_bad_input(store: Store, said: bytes, ending: str, answer: bytes) -> None:
    """NUL, TLS, lines without end, half a request: one listed ending each, and the right word or none."""
    with PopClient(store.port) as client:
        client.say(said)
        if ending == "client_closed":
            client.half_close()
        assert client.rest() == answer
    assert store.wait_for_endings(1) == [ending]
    assert [entry.number for entry in store.log("null_byte_in_input")] == ["0035"] * (ending == "null_byte")
    store.assert_at_rest()


# Time, config, processes


def test_sessions_have_their_time(tmp_path: Path) -> None:
    """idletimeout and sessiontimeout close without a word; deleted messages stay."""
    with Store(tmp_path, python=SHORT_TIMEOUTS) as store:
        store.put("joe", PLAIN)
        store.said("set idletimeout 1s")
        with store.open("joe") as idle:
            idle.ask("DELE 1")
            assert idle.rest() == b""
        store.said("set idletimeout 9s")
        store.said("set sessiontimeout 1s")
        with store.open("joe") as busy:
            busy.ask("DELE 1")
            wait_until(lambda: busy_is_cut(busy), "the busy session is cut")
        assert store.wait_for_endings(2) == ["idle_timeout", "session_timeout"]
        assert store.folders("joe") == ["new"]


def test_a_disk_that_is_too_slow(tmp_path: Path) -> None:
    """Who waits too long for the disk is told to come later; the others are served, and each session ends once."""
    with Store(tmp_path, workers=1, python=IMPATIENT) as store:
        store.put("big", PLAIN)
        (path,) = (store.root / "big/new").iterdir()
        for number in range(20_000):
            os.link(path, path.with_name(f"{number}.1-000000-00000000_{len(PLAIN)}"))
        with ExitStack() as stack:
            clients = [stack.enter_context(PopClient(store.port)) for _ in range(40)]
            for client in clients:
                client.say(b"big\r\ns\r\n\r\nQUIT\r\n")
            answers = [client.rest() for client in clients]
        late = [answer for answer in answers if answer.startswith(b"-ERR [SYS/TEMP] the mailbox cannot be opened")]
        served = [answer for answer in answers if answer == b"+OK 20001 messages (460023 octets)\r\n+OK bye\r\n"]
        assert late
        assert len(late) + len(served) == 40
        endings = store.wait_for_endings(40)
        assert endings.count("disk_timeout") == len(late)
        store.assert_at_rest()
        wait_until(lambda: is_served(store), "the disk is quick again", seconds=patient(3))


def is_served(store: Store) -> bool:
    """Whether a small mailbox can be opened."""
    with store.open("small") as client:
        return client.greeting.startswith(b"+OK")


def busy_is_cut(client: PopClient) -> bool:
    """Says something; whether the other side has closed."""
    try:
        client.say(b"NOOP\r\n")
        return not client._more()
    except ConnectionError:
        return True


def test_a_new_config_is_for_new_sessions(store: Store, tmp_path: Path) -> None:
    """`server`, `capa` and `mailboxdir` change under way; sessions that were there keep what they had."""
    store.put("joe", PLAIN)
    capa = tmp_path / "capa"
    capa.write_text("UIDL\nTOP\n")
    other = tmp_path / "other"
    other.mkdir()
    with store.open("joe") as old:
        store.said(f"capa load {capa}")
        store.said(f"set mailboxdir {other}")
        with store.open("joe") as new:
            assert new.greeting == b"+OK 0 messages (0 octets)"
            new.ask("CAPA")
            assert new.block() == [b"UIDL", b"TOP"]
        old.ask("CAPA")
        assert old.block() == [line.encode() for line in BUILT_IN]
        store.said("server conf state offline")
        assert old.retrieve(1) == PLAIN
        with pytest.raises(ConnectionRefusedError):
            PopClient(store.port)
        store.port = free_port()
        store.said(f"server conf port {store.port} state online")
        with store.open("joe") as moved:
            assert moved.ask("QUIT") == b"+OK bye"
        assert old.ask("QUIT") == b"+OK bye"
    assert store.folders("joe") == ["cur"]


def test_show_config_makes_the_same_server(store: Store, tmp_path: Path) -> None:
    """`show config` in a file is a start configuration that works."""
    store.put("joe", PLAIN)
    store.said("set idletimeout 15m")
    lines = store.said("show config").lines
    store.said("server conf state offline")
    second = tmp_path / "second"
    second.mkdir()
    rc = second / "rc"
    rc.write_text("\n".join(lines))
    with Proxy(second, options=["-c", str(rc)], name="pserv") as again:
        wait_until(lambda: len(again.log("sentence")) == len(lines), "the start configuration is in force")
        assert [line for line in again.said("show config").lines if not line.startswith("set logfile")] == [
            line for line in lines if not line.startswith("set logfile")
        ]
        with store.open("joe") as client:
            assert client.retrieve(1) == PLAIN


def test_pstatus_reads_the_state_file(store: Store) -> None:
    """The state file has the manual's magic and a row for the session, and pstatus prints it."""
    with store.open("3/joe", "p9.1.1") as client:
        assert client.ask("NOOP") == b"+OK"
        state = store.rundir / "pserv.state"
        assert state.read_bytes()[:16] == b"POPULAR\0SERVER\0\0"
        assert [row["mailbox"] for row in View.open(state).sessions()] == ["3/joe"]
        done = subprocess.run(
            [program("pstatus"), "-a", "-p", "pserv", "--rundir", str(store.rundir)],
            capture_output=True,
            text=True,
            timeout=patient(30),
            check=True,
        )
        assert "p9.1.1" in done.stdout
        assert "3/joe" in done.stdout


def test_a_session_can_be_killed(store: Store) -> None:
    """`sessions` finds it by mailbox, `kill` ends it by the proxy's id, and it changes nothing."""
    store.put("joe", PLAIN)
    with store.open("joe", "p.7.7") as client:
        client.ask("DELE 1")
        assert [row["sid"] for row in store.json("sessions mailbox joe")] == ["p.7.7"]
        store.said("kill p.7.7")
        assert client.rest() == b""
    assert store.wait_for_endings(1) == ["killed"]
    assert store.folders("joe") == ["new"]


def test_a_worker_killed_in_the_middle_of_a_mail(store: Store) -> None:
    """kill -9 during RETR: the mailbox is as it was, the worker is replaced, row and token are free again."""
    store.put("joe", b"x" * 20_000_000 + b"\r\n", PLAIN)
    before = store.files("joe").keys()
    with store.open("joe", receive_buffer=4096) as client:
        client.ask("DELE 2")
        assert client.ask("RETR 1").startswith(b"+OK")
        (row,) = store.sessions()
        os.kill(row["pid"], signal.SIGKILL)
        assert len(client.rest()) < 20_000_000
    wait_until(lambda: len(store.workers()) == 2 and row["pid"] not in store.workers(), "a successor is there")
    store.assert_at_rest()
    assert store.files("joe").keys() == before
    assert store.state().counters()["sessions_ended"]["worker_died"] == 1
    with store.open("joe") as client:
        assert client.greeting.startswith(b"+OK 2 messages")


def test_shutdown_delayed_lets_a_mail_be_read(store: Store) -> None:
    """`shutdown delayed` takes no new session, and the old one ends with its UPDATE."""
    store.put("joe", PLAIN)
    with store.open("joe") as client:
        store.said("shutdown delayed")
        with pytest.raises(ConnectionRefusedError):
            PopClient(store.port)
        assert client.retrieve(1) == PLAIN
        client.ask("DELE 1")
        assert client.ask("QUIT") == b"+OK bye"
    assert store.process.wait(patient(10)) == 0
    assert store.files("joe") == {}


def test_debug_options_are_live(store: Store) -> None:
    """POP shows the dialogue, MAIL the mailbox, NET the connection; none shows a password sent by mistake."""
    store.put("joe", PLAIN)
    store.said("debug =POP,MAIL,NET")
    with store.open("joe", "d.1.1") as client:
        client.retrieve(1)
        client.ask("PASS canary")
        client.ask("QUIT")
    store.wait_for_endings(1)
    names = {entry.name for entry in store.log()}
    assert {"pop_client", "pop_server", "mail_opened", "mail_updated", "net_accepted"} <= names
    assert "canary" not in store.logfile.read_text()
    assert "hello" not in store.logfile.read_text()


def test_flat_over_many_sessions(store: Store) -> None:
    """2,000 sessions of every kind leave descriptors and memory as they were."""
    store.put("joe", PLAIN, DOTTED)
    kinds: list[Callable[[PopClient], object]] = [
        lambda client: client.ask("QUIT"),
        lambda client: client.retrieve(1),
        lambda client: client.reset(),
        lambda client: say_all(client, "RETR 1", "RETR 2", "NOOP"),
    ]

    def run(count: int) -> None:
        for number in range(count):
            with store.open("joe", flags="M") as client:
                kinds[number % len(kinds)](client)
        store.wait_until_quiet()

    def descriptors() -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in store.workers())

    run(400)
    fds, size = descriptors(), memory(store)
    run(1600)
    assert descriptors() == fds
    assert memory(store) - size < 2 << 20
