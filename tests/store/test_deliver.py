"""pdeliver as a mail server calls it: a process, mail on its standard input."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.store.maildir.maildir import MailboxError, Maildir
from popular.store.tools.pdeliver import FORMATS, CutOff, NoMail, crlf_content, main
from tests.patience import patient
from tests.system.site import wait_until

PDELIVER = (sys.executable, "-m", "popular.store.tools.pdeliver")


def pdeliver(root: Path, *arguments: str, mail: bytes = b"Subject: x\n\nhello\n") -> subprocess.CompletedProcess[bytes]:
    command = [*PDELIVER, "-m", str(root), "-l", str(root.parent / "log"), *arguments]
    return subprocess.run(command, input=mail, capture_output=True, timeout=patient(30), check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pop").mkdir()
    return tmp_path / "pop"


def contents(root: Path, mailbox: str = "joe") -> list[bytes]:
    maildir = Maildir(root, mailbox)
    found = []
    for message in maildir.list().messages:
        with maildir.open(message) as content:
            found.append(content.read())
        assert len(found[-1]) == message.size
    return found


@pytest.mark.parametrize(
    ("form", "mail", "stored"),
    [
        ("LF", b"a: b\n\n.c\n", b"a: b\r\n\r\n.c\r\n"),
        ("LF", b"a: b\n\nc", b"a: b\r\n\r\nc\r\n"),
        ("LF", b"a: b\r\n\r\nc\r\n", b"a: b\r\n\r\nc\r\n"),
        ("CRLF", b"a: b\r\n\r\n..c\r\n", b"a: b\r\n\r\n..c\r\n"),
        ("CRLF", b"a: b\r\n\r\nc", b"a: b\r\n\r\nc\r\n"),
        ("crlf", b"a: b\r\n\r\n.\r\nc\r\n", b"a: b\r\n\r\n.\r\nc\r\n"),
        ("CRLF", b"a: b\r\n\nc\n", b"a: b\r\n\r\nc\r\n"),
        ("NET", b"a: b\n\r\n.\nc\r\n.\r\n", b"a: b\r\n\r\n\r\nc\r\n"),
        ("NET", b"a: b\r\n\r\n..c\r\n.\r\nnot this\r\n", b"a: b\r\n\r\n.c\r\n"),
    ],
)
def test_formats(root: Path, form: str, mail: bytes, stored: bytes) -> None:
    """Each format ends up as CRLF content with a line end at its end; LF and CRLF end with the input."""
    ran = pdeliver(root, "-f", form, "joe", mail=mail)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert contents(root) == [stored]


def test_the_default_format_is_lf(root: Path) -> None:
    """As mail comes through a pipe on UNIX."""
    assert pdeliver(root, "3/2d/joe.doe").returncode == 0
    assert contents(root, "3/2d/joe.doe") == [b"Subject: x\r\n\r\nhello\r\n"]


@given(st.binary(min_size=1, max_size=200), st.sampled_from(FORMATS), st.integers(1, 50))
def test_content_does_not_depend_on_the_chunks(mail: bytes, form: str, step: int) -> None:
    """However the input arrives, the same mail is stored, and it ends with CRLF."""

    def content(chunks: list[bytes]) -> bytes | None:
        try:
            return b"".join(crlf_content(chunks, form))
        except (NoMail, CutOff):
            return None

    whole = content([mail])
    assert whole == content([mail[at : at + step] for at in range(0, len(mail), step)])
    assert whole is None or whole.endswith(b"\r\n")


def test_the_log_line(root: Path) -> None:
    """One line in the manual's format, with the id that was given, names mailbox, file and size."""
    pdeliver(root, "-i", "q.1234", "joe")
    (message,) = Maildir(root, "joe").list().messages
    line = (root.parent / "log").read_text()
    delivered = f"INF 0410 delivered mailbox='joe' file='{message.name}' size=21\n"
    assert re.fullmatch(rf"\d{{8}} \d{{6}} \S+ pdeliver \d+ q\.1234 {re.escape(delivered)}", line)


def test_a_log_file_that_cannot_be_opened_does_not_stop_mail(root: Path) -> None:
    """It is said on standard error, and the mail is delivered."""
    ran = pdeliver(root, "-l", str(root / "no" / "log"), "joe")
    assert ran.returncode == 0
    assert b"going on without" in ran.stderr
    assert len(contents(root)) == 1


def test_quota_of_octets(root: Path) -> None:
    """Checked before the delivery: the mail that goes over is delivered, the next one is not, and exits with 1."""
    big = b"x" * 79 + b"\n"
    assert pdeliver(root, "-q", "1", "joe", mail=big * 14000).returncode == 0
    ran = pdeliver(root, "-q", "1", "-i", "id7", "joe")
    assert ran.returncode == 1
    assert b"mailbox joe is full: 1134000 octets of 1048576" in ran.stderr
    assert " id7 ERR 0411 over_quota mailbox='joe' " in (root.parent / "log").read_text()
    assert len(contents(root)) == 1
    assert pdeliver(root, "-q", "2", "joe").returncode == 0
    assert pdeliver(root, "-q", "0", "joe").returncode == 0


def test_quota_of_mails(root: Path) -> None:
    """A mailbox that holds so many takes no more; read mail counts too."""
    for _ in range(2):
        assert pdeliver(root, "-Q", "2", "joe").returncode == 0
    maildir = Maildir(root, "joe")
    maildir.update([], maildir.list().messages)
    assert pdeliver(root, "-Q", "2", "joe").returncode == 1
    maildir.update(maildir.list().messages[:1], [])
    assert pdeliver(root, "-Q", "2", "joe").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "mailbox"),
        (("joe", "ann"), "ann"),
        (("../joe",), "does not contain .."),
        (("/joe",), "does not begin with /"),
        (("joe doe",), "only letters"),
        (("",), "empty"),
        (("-f", "EML", "joe"), "EML"),
        (("-q", "-1", "joe"), "-1"),
        (("-q", "1.5", "joe"), "1.5"),
        (("-Q", "many", "joe"), "many"),
        (("-i", "a b", "joe"), "session id"),
        (("--quot", "1", "joe"), "--quot"),
    ],
)
def test_a_bad_command_line(root: Path, arguments: tuple[str, ...], complaint: str) -> None:
    """Exits with 64, says what is wrong, touches nothing."""
    ran = pdeliver(root, *arguments)
    assert ran.returncode == 64
    assert complaint in ran.stderr.decode()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(("form", "mail"), [("LF", b""), ("NET", b".\r\n"), ("NET", b"")])
def test_no_mail_is_not_a_mail(root: Path, form: str, mail: bytes) -> None:
    """Nothing on standard input exits with 65 and delivers nothing."""
    assert pdeliver(root, "-f", form, "joe", mail=mail).returncode == 65
    assert [path for path in root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "mail", [b"a: b\r\n\r\nc\r\n", b"a: b\r\n\r\nc", b"a: b\r\n\r\nc\r\n.", b"a: b\r\n\r\nc\r\n.\r"]
)
def test_a_mail_without_its_end_means_try_again(root: Path, mail: bytes) -> None:
    """In the format NET the rest of it is missing: 75, and nothing is delivered or left behind."""
    ran = pdeliver(root, "-f", "NET", "joe", mail=mail)
    assert ran.returncode == 75
    assert b"without the line with a single dot" in ran.stderr
    assert " ADM 0412 not_delivered " in (root.parent / "log").read_text()
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_mailbox_that_cannot_be_written_means_try_again(root: Path) -> None:
    """75, on which a mail server keeps the mail; so does a mail root that is not there."""
    (root / "joe").write_bytes(b"")
    ran = pdeliver(root, "joe")
    assert ran.returncode == 75
    assert b"cannot deliver to mailbox joe" in ran.stderr
    assert " ADM 0412 not_delivered " in (root.parent / "log").read_text()
    assert pdeliver(root, "-m", str(root / "none"), "ann").returncode == 75


def test_help_and_version(root: Path) -> None:
    """Both exit with 0 and tell."""
    assert b"--quota" in pdeliver(root, "--help").stdout
    assert re.fullmatch(rb"pdeliver \d+\..+\n", pdeliver(root, "--version").stdout)


def test_parallel_deliveries_lose_nothing(root: Path) -> None:
    """Several deliverers into one mailbox that does not exist yet: every mail is there, once and whole."""
    running = []
    for number in range(8):
        command = [*PDELIVER, "-m", str(root), "-l", "/dev/null", "joe"]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        stdin = running[-1].stdin
        assert stdin is not None
        stdin.write(b"%d\n" % number * 100)
    for process in running:
        process.communicate(timeout=patient(30))
        assert process.returncode == 0
    assert sorted(contents(root)) == [b"%d\r\n" % number * 100 for number in range(8)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_delivery_that_is_ended_leaves_nothing(root: Path, number: signal.Signals) -> None:
    """A signal in the middle of the mail: 75, no mail, no file in tmp."""
    command = [*PDELIVER, "-m", str(root), "-l", "/dev/null", "joe"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        process.stdin.write(b"half a mail")
        process.stdin.flush()
        wait_until(lambda: list(root.glob("joe/tmp/*")), "the delivery has begun")
        process.send_signal(number)
        assert process.wait(patient(10)) == 75
    finally:
        process.kill()
        process.stdin.close()
        process.wait(patient(10))
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_signal_that_comes_with_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that comes at the very moment when the file is there leaves none."""
    open_really = os.open

    def interrupted(path: str, flags: int, *mode: int, **where: int) -> int:
        opened = open_really(path, flags, *mode, **where)
        if flags & os.O_EXCL:
            os.close(opened)
            raise SystemExit(75)
        return opened

    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(SystemExit):
        Maildir(root, "joe").deliver([b"a mail"])
    assert [path for path in root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_mail_of_50_megabytes_needs_little_memory(root: Path, form: str) -> None:
    """It streams: the process stays far smaller than the mail, and every octet arrives."""
    line = b"." + b"x" * 76 + (b"\n" if form == "LF" else b"\r\n")
    count = 50_000_000 // len(line)

    def wire() -> Iterator[bytes]:
        sent = line.replace(b".", b"..") if form == "NET" else line
        for _ in range(count // 1000):
            yield sent * 1000

    command = [*PDELIVER, "-m", str(root), "-l", "/dev/null", "-f", form, "joe"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    for piece in wire():
        process.stdin.write(piece)
    # All but the last 64 KiB, which a pipe holds, have been read by now.
    status = Path(f"/proc/{process.pid}/status").read_text()
    process.stdin.write(b".\r\n" if form == "NET" else b"")
    process.stdin.close()
    assert process.wait(patient(30)) == 0
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak[1]) < 40_000  # the interpreter with its modules takes about 27,000 of these
    (message,) = Maildir(root, "joe").list().messages
    stored = b"." + b"x" * 76 + b"\r\n"
    assert message.size == len(stored) * 1000 * (count // 1000)
    with open(root / "joe" / "new" / message.name, "rb") as content:
        for piece in iter(lambda: content.read(len(stored) * 1000), b""):
            assert piece == stored * 1000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_with_the_mail_in_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It is delivered then, and 75 would have it sent again: twice in the mailbox."""
    linked = os.link
    mail = iter([b"a: b\n\n", b""])

    def link(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        linked(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        signal.raise_signal(number)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "read", lambda *_: next(mail))
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        assert main(["-m", str(root), "-l", "/dev/null", "joe"]) == 0
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert len(contents(root)) == 1


def test_a_mail_that_may_not_be_on_the_disk_is_not_in_the_mailbox(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder cannot be brought to the disk: 75 then, and the mail server sends it again."""
    synced = os.fsync

    def fsync(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EIO, "broken")
        synced(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(MailboxError, match="cannot deliver"):
        Maildir(root, "joe").deliver([b"a: b\r\n"])
    assert [path for path in root.rglob("*") if path.is_file()] == []
