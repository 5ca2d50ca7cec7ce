"""Mail programs of the distribution, each run once to read a whole mailbox: curl, fetchmail, mpop, getmail, poplib.

    fetch = CLIENTS["mpop"]
    mails = fetch(Account(port, user, password), directory, delete=True)

Each gives the mails with CRLF line ends, in no order, as the client has them after its options have kept it from adding
headers of its own. An exit code that tells of anything but success is an AssertionError.
"""

import os
import poplib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.system.site import LOOPBACK, need

_SECONDS = 60
_FETCHMAIL_HAD_NO_MAIL = 1


class Account(NamedTuple):
    """A mailbox, as its owner reaches it, and how many mails are in it: curl asks for them by number."""

    port: int
    user: str
    password: str
    mails: int


Fetch = Callable[[Account, Path, bool], list[bytes]]


def _run(directory: Path, *command: str | Path, exit_codes: Sequence[int] = (0,)) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode in exit_codes, f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}"


def _private(path: Path, text: str) -> Path:
    """A configuration file with a password in it: the clients insist on its rights."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def _with_crlf(path: Path) -> bytes:
    return path.read_bytes().replace(b"\n", b"\r\n")


def _new_maildir(path: Path) -> Path:
    for folder in ("cur", "new", "tmp"):
        (path / folder).mkdir(parents=True)
    return path


def _with_poplib(account: Account, _directory: Path, delete: bool) -> list[bytes]:
    connection = poplib.POP3(LOOPBACK, account.port, timeout=_SECONDS)
    try:
        connection.user(account.user)
        connection.pass_(account.password)
        count, _size = connection.stat()
        mails: list[bytes] = []
        for number in range(1, count + 1):
            mails.append(b"".join(line + b"\r\n" for line in connection.retr(number)[1]))
            if delete:
                connection.dele(number)
    finally:
        connection.quit()
    return mails


def _with_curl(account: Account, directory: Path, delete: bool) -> list[bytes]:
    """curl takes mails by number; an empty mailbox is listed instead, and must be empty."""
    curl, url = need("curl"), f"pop3://{LOOPBACK}:{account.port}/"
    login = ["-q", "-sS", "--fail-early", "-u", f"{account.user}:{account.password}"]
    if account.mails == 0:
        _run(directory, curl, *login, "-o", directory / "list", url)
        # Some curls (7.88) show a lone line end for a listing without a line.
        listed = (directory / "list").read_bytes()
        assert listed in (b"", b"\r\n"), listed
        return []
    numbers = f"{url}[1-{account.mails}]"
    _run(directory, curl, *login, "-o", directory / "mail#1", numbers)
    if delete:
        _run(directory, curl, *login, "-I", "-X", "DELE", numbers)
    return [path.read_bytes() for path in directory.glob("mail*")]


def _with_fetchmail(account: Account, directory: Path, delete: bool) -> list[bytes]:
    """`invisible` and `no rewrite` keep fetchmail from adding and changing headers."""
    fetchmail, mails = need("fetchmail"), directory / "mails"
    mails.mkdir()
    rc = _private(
        directory / "fetchmailrc",
        f"""
        set invisible
        set no bouncemail
        poll "{LOOPBACK}" protocol pop3 port {account.port}
            user "{account.user}" password "{account.password}" sslproto ""
            fetchall {"no keep" if delete else "keep"} no rewrite
            mda "cat > {mails}/$$"
        """,
    )
    found = [_FETCHMAIL_HAD_NO_MAIL] if account.mails == 0 else [0]
    _run(directory, fetchmail, "-f", rc, "--nosyslog", "--pidfile", directory / "pid", exit_codes=found)
    return [_with_crlf(path) for path in mails.iterdir()]


def _with_mpop(account: Account, directory: Path, delete: bool) -> list[bytes]:
    mpop, maildir = need("mpop"), _new_maildir(directory / "maildir")
    rc = _private(
        directory / "mpoprc",
        f"""
        account default
        host {LOOPBACK}
        port {account.port}
        tls off
        auth user
        user {account.user}
        password {account.password}
        keep {"off" if delete else "on"}
        received_header off
        uidls_file {directory}/uidls
        delivery maildir {maildir}
        """,
    )
    _run(directory, mpop, "-C", rc, "--quiet")
    return [_with_crlf(path) for path in (maildir / "new").iterdir()]


def _with_getmail(account: Account, directory: Path, delete: bool) -> list[bytes]:
    """Through a command, because as root getmail delivers no mail itself; then it puts one line in front of each."""
    getmail, mails = need("getmail"), directory / "mails"
    mails.mkdir()
    rc = _private(
        directory / "getmailrc",
        f"""
[retriever]
type = SimplePOP3Retriever
server = {LOOPBACK}
port = {account.port}
username = {account.user}
password = {account.password}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > {mails}/$$")
allow_root_commands = true
[options]
read_all = true
delete = {"true" if delete else "false"}
delivered_to = false
received = false
verbose = 0
""",
    )
    _run(directory, getmail, "--getmaildir", directory, "--rcfile", rc)
    added = b"Return-Path: <unknown>\r\n"
    return [_with_crlf(path).removeprefix(added) for path in mails.iterdir()]


CLIENTS: dict[str, Fetch] = {
    "poplib": _with_poplib,
    "curl": _with_curl,
    "fetchmail": _with_fetchmail,
    "mpop": _with_mpop,
    "getmail": _with_getmail,
}
