"""Maildirs that other mail servers wrote: LF or CRLF in the files, CRLF on the wire, as a real Dovecot says it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from popular.protocol.dotstuff import Unstuffer
from popular.store.maildir import wiresize
from popular.store.maildir.listing import CUR, NEW
from popular.store.maildir.maildir import Maildir
from tests.patience import patient
from tests.store.test_pserv import Store
from tests.system.dovecot import Dovecot
from tests.system.site import PopClient, need

LF = b"Return-Path: <a@example.org>\nSubject: as Postfix writes it\n\nhello\n\n.\n..dots\n.end\n"
LARGE = b"Subject: large\n\n" + b"".join(b"%d: a line of a mail that needs several pieces\n" % at for at in range(9000))
MAILS = {
    "lf": LF,
    "crlf": LF.replace(b"\n", b"\r\n"),
    "mixed": b"Subject: mixed\r\nTo: b\n\r\none\n.two\r\n.\n\n.three\r\n",
    "no line end": b"Subject: x\n\nno line end",
    "no line end, crlf": b"Subject: x\r\n\r\nno line end",
    "dot at the end": b"Subject: x\n\n.",
    "blank lines at the end": b"Subject: x\n\nbody\n\n\n",
    "header only": b"Subject: x\n",
    "no header": b"\nbody\n",
    "empty": b"",
    "large lf": LARGE,
    "large crlf": LARGE.replace(b"\n", b"\r\n"),
}
TOPS = (0, 1, 2, 5)


def wire(mail: bytes) -> bytes:
    """What a client has to get of it, without the dots."""
    made = mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return made if made.endswith(b"\r\n") or not made else made + b"\r\n"


def raw(client: PopClient, command: str) -> bytes:
    """The octets of an answer of several lines, from after its first line to its lone dot."""
    assert client.ask(command).startswith(b"+OK"), command
    taken = bytearray()
    while not taken.endswith(b"\r\n.\r\n") and taken != b".\r\n":
        taken += client.exactly(1)
    return bytes(taken)


def everything(client: PopClient, count: int) -> dict[str, object]:
    """What a server says of a mailbox whose messages have the numbers 1 to `count`."""
    numbers = range(1, count + 1)
    tops = [f"TOP {number} {lines}" for number in numbers for lines in TOPS]
    commands = ["LIST", *(f"RETR {number}" for number in numbers), *tops]
    return {"STAT": client.ask("STAT").split()[1:3], **{command: raw(client, command) for command in commands}}


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


def ask_dovecot(dovecot: Dovecot, count: int) -> dict[str, object]:
    with PopClient(dovecot.port) as client:
        assert client.log_in("joe", "secret").startswith(b"+OK")
        return everything(client, count)


def ask_pserv(store: Store, count: int) -> dict[str, object]:
    with store.open("joe") as client:
        return everything(client, count)


def test_pserv_says_what_dovecot_says_of_the_same_maildir(tmp_path: Path, dovecot: Dovecot) -> None:
    """Sizes, mails and tops of files in LF, in CRLF, in both, without a last line end, empty: octet by octet."""
    dovecot.add_user("joe", "secret", list(MAILS.values()))
    with Store(tmp_path, root=dovecot.home / "mail") as store:
        ours = ask_pserv(store, len(MAILS))
    # Afterwards: Dovecot moves what it has seen to `cur`.
    theirs = ask_dovecot(dovecot, len(MAILS))
    differing = {command for command in ours if ours[command] != theirs[command]}
    # For a file of 0 octets, which both announce as such, Dovecot sends an empty line.
    empty = list(MAILS).index("empty") + 1
    assert differing == {f"RETR {empty}", *(f"TOP {empty} {lines}" for lines in TOPS)}
    assert theirs[f"RETR {empty}"] == b"\r\n.\r\n"
    for number, mail in enumerate(MAILS.values(), 1):
        assert unstuffed(ours[f"RETR {number}"]) == wire(mail)


def unstuffed(answer: object) -> bytes:
    assert isinstance(answer, bytes)
    return Unstuffer().feed(answer)


def test_mail_that_dovecot_delivered(tmp_path: Path, dovecot: Dovecot) -> None:
    """Its names tell the size on the wire (`,W=`): such a mailbox is listed without a look at its files."""
    dovecot.add_user("joe", "secret")
    # Wherever the distribution has it.
    lda = [need("doveadm"), "-c", str(dovecot.home / "dovecot.conf"), "exec", "dovecot-lda"]
    command = [*lda, "-c", str(dovecot.home / "dovecot.conf"), "-d", "joe", "-f", "a@example.org"]
    for mail in (LF, LARGE):
        subprocess.run(command, input=mail, check=True, timeout=patient(20))
    with Store(tmp_path, root=dovecot.home / "mail") as store:
        ours = ask_pserv(store, 2)
    assert ours == ask_dovecot(dovecot, 2)
    names = [message.name for message in Maildir(dovecot.home / "mail", "joe").list().messages]
    assert all(",W=" in name for name in names)
    before = wiresize.KNOWN.measured
    assert [message.size for message in Maildir(dovecot.home / "mail", "joe").list().messages] == announced(ours)
    assert wiresize.KNOWN.measured == before


def announced(answers: dict[str, object]) -> list[int]:
    """The sizes in the answer to LIST."""
    listed = answers["LIST"]
    assert isinstance(listed, bytes)
    return [int(line.split()[1]) for line in listed.splitlines()[:-1]]


def fill(root: Path, *mails: bytes) -> Maildir:
    """A mailbox as Postfix leaves it."""
    for folder in (NEW, CUR, "tmp"):
        (root / "joe" / folder).mkdir(parents=True, exist_ok=True)
    for number, mail in enumerate(mails, 1):
        (root / "joe" / NEW / f"{1_700_000_000 + number}.V801I{number:x}M{number:06}.mx").write_bytes(mail)
    return Maildir(root, "joe")


def test_the_announced_size_is_what_arrives(tmp_path: Path) -> None:
    """LIST, STAT and RETR announce the octets that a client gets, also of a mail of many pieces."""
    mails = [mail for mail in MAILS.values() if mail.endswith(b"\n")]
    fill(tmp_path / "pop", *mails)
    with Store(tmp_path) as store, store.open("joe") as client:
        sizes = [len(client.retrieve(number)) for number in range(1, len(mails) + 1)]
        assert client.ask("STAT") == b"+OK %d %d" % (len(mails), sum(sizes))
        for number, size in enumerate(sizes, 1):
            assert client.ask(f"LIST {number}") == b"+OK %d %d" % (number, size)
            assert client.ask(f"RETR {number}") == b"+OK %d octets" % size
            client.block()


def test_a_file_is_read_for_its_size_once(tmp_path: Path) -> None:
    """At the next look its size is known, also when it has moved to `cur`; once written again it is another file."""
    joe = fill(tmp_path, LF)
    before = wiresize.KNOWN.measured
    (message,) = joe.list().messages
    assert joe.update([], [message]).moved == 1
    assert [found.size for found in joe.list().messages] == [len(wire(LF))]
    assert wiresize.KNOWN.measured == before + 1
    longer = LF + b"one line more\n"
    (tmp_path / "joe" / CUR / message.name).write_bytes(longer)
    assert [found.size for found in joe.list().messages] == [len(wire(longer))]
    assert wiresize.KNOWN.measured == before + 2


def test_what_is_remembered_has_a_bound(tmp_path: Path) -> None:
    """The oldest goes first; sizes stay right."""
    fill(tmp_path, *([LF] * 10))
    sizes = wiresize.WireSizes(3)
    for path in (tmp_path / "joe" / NEW).iterdir():
        folder = os.open(path.parent, os.O_RDONLY)
        assert sizes.of(folder, path.name, path.lstat()) == len(wire(LF))
        os.close(folder)
    assert (len(sizes), sizes.measured) == (3, 10)
