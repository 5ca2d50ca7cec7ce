"""Mail programs of the distribution, each run once to read a whole mailbox: curl, fetchmail, mpop, getmail, poplib,
and in TLS openssl s_client too.

    fetch = CLIENTS["mpop"]
    mails = fetch(Account(port, user, password, count), directory, delete=True)
    mails = fetch(Account(port, user, password, count, Tls(implicit=False, authority=ca_pem)), directory, delete=True)

In TLS each is told to insist on it, and to verify the certificate: this authority, and the name `NAME`.

Each gives the mails with CRLF line ends, in no order, as the client has them after its options have kept it from adding
headers of its own. An exit code that tells of anything but success is an AssertionError.
"""

import contextlib
import os
import poplib
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.patience import patient
from tests.system.site import LOOPBACK, Conversation, need

NAME = "localhost"
"""What a server's certificate must be for."""

_SECONDS = patient(60)
_FETCHMAIL_HAD_NO_MAIL = 1


class Tls(NamedTuple):
    """TLS from the first octet (POP3S), or by STLS; and whom the client believes: a file of certificates."""

    implicit: bool
    authority: Path


class Account(NamedTuple):
    """A mailbox, as its owner reaches it, and how many mails are in it: curl asks for them by number."""

    port: int
    user: str
    password: str
    mails: int
    tls: Tls | None = None

    @property
    def host(self) -> str:
        return NAME if self.tls else LOOPBACK


Fetch = Callable[[Account, Path, bool], list[bytes]]


def _run(directory: Path, *command: str | Path, exit_codes: Sequence[int] = (0,), **variables: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C", **variables}
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
    """A file for its owner only: where a password is in it, the clients insist on that."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def _with_crlf(path: Path) -> bytes:
    return path.read_bytes().replace(b"\n", b"\r\n")


def _poplib_connection(account: Account) -> poplib.POP3:
    if account.tls is None:
        return poplib.POP3(account.host, account.port, timeout=_SECONDS)
    context = ssl.create_default_context(cafile=str(account.tls.authority))
    if account.tls.implicit:
        return poplib.POP3_SSL(account.host, account.port, timeout=_SECONDS, context=context)
    connection = poplib.POP3(account.host, account.port, timeout=_SECONDS)
    try:
        connection.stls(context)
    except BaseException:
        with contextlib.suppress(OSError):
            connection.close()  # finds that a failed handshake has closed the socket already
        raise
    return connection


def _with_poplib(account: Account, _directory: Path, delete: bool) -> list[bytes]:
    connection = _poplib_connection(account)
    try:
        connection.user(account.user)
        connection.pass_(account.password)
        count, _size = connection.stat()
        mails: list[bytes] = []
        for number in range(1, count + 1):
            mails.append(b"".join(line + b"\r\n" for line in connection.retr(number)[1]))
            if delete:
                connection.dele(number)
        connection.quit()
    finally:
        connection.close()
    return mails


def _with_curl(account: Account, directory: Path, delete: bool) -> list[bytes]:
    """curl takes mails by number; an empty mailbox is listed instead, and must be empty."""
    curl, scheme = need("curl"), "pop3s" if account.tls and account.tls.implicit else "pop3"
    url = f"{scheme}://{account.host}:{account.port}/"
    login = ["-q", "-sS", "--fail-early", "-u", f"{account.user}:{account.password}"]
    if account.tls:
        login += ["--ssl-reqd", "--cacert", str(account.tls.authority)]
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
    security = 'sslproto ""'
    if account.tls:
        way = "ssl" if account.tls.implicit else ""
        security = f'{way} sslproto "tls1.2+" sslcertck sslcertfile "{account.tls.authority}"'
    rc = _private(
        directory / "fetchmailrc",
        f"""
        set invisible
        set no bouncemail
        poll "{account.host}" protocol pop3 port {account.port}
            user "{account.user}" password "{account.password}" {security}
            fetchall {"no keep" if delete else "keep"} no rewrite
            mda "cat > {mails}/$$"
        """,
    )
    found = [_FETCHMAIL_HAD_NO_MAIL] if account.mails == 0 else [0]
    _run(directory, fetchmail, "-f", rc, "--nosyslog", "--pidfile", directory / "pid", exit_codes=found)
    return [_with_crlf(path) for path in mails.iterdir()]


def _with_mpop(account: Account, directory: Path, delete: bool) -> list[bytes]:
    """Through a command: into a Maildir it would force each mail out to the disk, one after the other."""
    mpop, mails = need("mpop"), directory / "mails"
    mails.mkdir()
    security = "tls off"
    if account.tls:
        starttls = "off" if account.tls.implicit else "on"
        security = f"tls on\n        tls_starttls {starttls}\n        tls_trust_file {account.tls.authority}"
    rc = _private(
        directory / "mpoprc",
        f"""
        account default
        host {account.host}
        port {account.port}
        {security}
        auth user
        user {account.user}
        password {account.password}
        keep {"off" if delete else "on"}
        received_header off
        uidls_file {directory}/uidls
        delivery mda "cat > {mails}/$$"
        """,
    )
    _run(directory, mpop, "-C", rc, "--quiet")
    return [_with_crlf(path) for path in mails.iterdir()]


def _with_getmail(account: Account, directory: Path, delete: bool) -> list[bytes]:
    """Through a command, because as root getmail delivers no mail itself; then it puts one line in front of each.

    It forces three temporary files out to the disk for each mail: these lie in shared memory, where that takes no time.
    And it never hears of a delivery that has ended before it began to wait for that (getmail 6.18: it then waits for a
    minute, and gives up): so each delivery ends only when getmail is asleep.
    """
    getmail, mails = need("getmail"), directory / "mails"
    mails.mkdir()
    deliver = _private(
        directory / "deliver",
        f"""
        cat > {mails}/$$
        until read -r stat < /proc/$PPID/stat; case "$stat" in *") S "*) true ;; *) false ;; esac; do :; done
        """,
    )
    kind, trust = "SimplePOP3Retriever", ""
    if account.tls:
        assert account.tls.implicit, "getmail does not know STLS"
        kind, trust = "SimplePOP3SSLRetriever", f"ca_certs = {account.tls.authority}"
    rc = _private(
        directory / "getmailrc",
        f"""
[retriever]
type = {kind}
server = {account.host}
{trust}
port = {account.port}
username = {account.user}
password = {account.password}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("{deliver}",)
allow_root_commands = true
[options]
read_all = true
delete = {"true" if delete else "false"}
delivered_to = false
received = false
verbose = 0
""",
    )
    with tempfile.TemporaryDirectory(prefix="popular-getmail-", dir="/dev/shm") as memory:
        _run(directory, getmail, "--getmaildir", directory, "--rcfile", rc, TMPDIR=memory)
    added = b"Return-Path: <unknown>\r\n"
    return [_with_crlf(path).removeprefix(added) for path in mails.iterdir()]


def _with_openssl(account: Account, directory: Path, delete: bool) -> list[bytes]:
    """A script over `openssl s_client`, which says STLS itself and then keeps the greeting."""
    assert account.tls is not None
    command = [need("openssl"), "s_client", "-quiet", "-verify_return_error", "-verify_hostname", account.host]
    command += ["-CAfile", str(account.tls.authority), "-servername", account.host]
    command += ["-connect", f"{account.host}:{account.port}"]
    command += [] if account.tls.implicit else ["-starttls", "pop3"]
    ours, theirs = socket.socketpair()
    errors = directory / "errors"
    with errors.open("wb") as stderr, theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=stderr, cwd=directory)
    try:
        greeting = b"" if account.tls.implicit else b"kept by s_client"
        with Conversation(ours, _SECONDS, greeting) as client:
            mails = _by_hand(client, account, delete)
        process.wait(_SECONDS)
    except (AssertionError, ConnectionError) as error:
        raise AssertionError(f"{error}; openssl ended with {process.wait(_SECONDS)}: {errors.read_text()}") from None
    finally:
        process.kill()
        process.wait()
    return mails


def _by_hand(client: Conversation, account: Account, delete: bool) -> list[bytes]:
    assert client.log_in(account.user, account.password).startswith(b"+OK"), "login denied"
    mails = [client.retrieve(number) for number in range(1, account.mails + 1)]
    for number in range(1, account.mails + 1) if delete else ():
        assert client.ask(f"DELE {number}").startswith(b"+OK")
    assert client.ask("QUIT").startswith(b"+OK")
    return mails


CLIENTS: dict[str, Fetch] = {
    "poplib": _with_poplib,
    "curl": _with_curl,
    "fetchmail": _with_fetchmail,
    "mpop": _with_mpop,
    "getmail": _with_getmail,
}

TLS_CLIENTS: dict[str, Fetch] = {**CLIENTS, "openssl": _with_openssl}
"""Those that can be used in TLS."""

KNOW_NO_STLS = ("getmail",)
"""Clients that know POP3S only."""
