"""Where the mail is after a proxy, for tests of whole sites: one row of STORAGES for each kind of backend.

Each is a context manager that starts the servers, and gives the storage and the commands that lead the proxy to it.
"""

import contextlib
import functools
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tests.system.certificates import Authority
from tests.system.dovecot import Dovecot
from tests.system.site import LOOPBACK, PATIENCE, Proxy, free_port, program, wait_until


class Storage(Protocol):
    """Mailboxes. Mails are given and taken with LF line ends, whatever the server makes of them."""

    def add_user(self, user: str, password: str, mails: Sequence[bytes] = ()) -> None:
        """A new user; the proxy's modules must be reloaded after it."""
        ...

    def mails(self, user: str) -> list[bytes]:
        """What is in a mailbox now, in no order."""
        ...


Start = Callable[[Path], contextlib.AbstractContextManager[tuple[Storage, list[str]]]]


@contextlib.contextmanager
def with_dovecot(_directory: Path) -> Iterator[tuple[Storage, list[str]]]:
    """A POP3 backend, which checks the passwords itself."""
    with Dovecot() as dovecot:
        yield dovecot, [f"backend conf b1 host {LOOPBACK} port {dovecot.port} state online", "pdm add all any b1"]


@contextlib.contextmanager
def with_dovecot_in_tls(directory: Path, way: str) -> Iterator[tuple[Storage, list[str]]]:
    """A POP3 backend in TLS that is verified; `way` is starttls or implicit."""
    authority = Authority("The backends' authority")
    ca = authority.write(directory, "backends.pem")
    with Dovecot(authority.issue(BACKEND_NAME)) as dovecot:
        port = dovecot.tls_port if way == "implicit" else dovecot.port
        tls = f"tls {way} tlsname {BACKEND_NAME} tlsca {ca}"
        yield dovecot, [f"backend conf b1 host {LOOPBACK} port {port} {tls} state online", "pdm add all any b1"]


@contextlib.contextmanager
def with_pserv(directory: Path) -> Iterator[tuple[Storage, list[str]]]:
    """A CXPOP backend: `pserv` and `pcheckd`, with the passwords in a file of the proxy."""
    place, port = directory / "store", free_port()
    store = _Files(place / "mail", directory / "users")
    rc = [f"set mailboxdir {store.root}", f"server conf iface {LOOPBACK} port {port} state online"]
    with Proxy(place, rc, options=("-n", "200"), name="pserv"), _mail_check(place, store.root) as check_port:
        yield (
            store,
            [
                f"set checkport {check_port}",
                f"backend conf b1 host {LOOPBACK} port {port} prot CXPOP state online",
                f"pdm add users passwd {store.users}",
            ],
        )


STORAGES: dict[str, Start] = {"dovecot": with_dovecot, "pserv": with_pserv}

STORAGES_IN_TLS: dict[str, Start] = {
    "dovecot by STLS": functools.partial(with_dovecot_in_tls, way="starttls"),
    "dovecot by POP3S": functools.partial(with_dovecot_in_tls, way="implicit"),
}

BACKEND_NAME = "store.example.org"
"""What a backend's certificate must be for."""


class _Files:
    """Mailboxes of the extended Maildir, written as the manual describes them, and a file of the module passwd."""

    def __init__(self, root: Path, users: Path) -> None:
        root.mkdir(parents=True)
        users.touch()
        self.root = root
        self.users = users

    def add_user(self, user: str, password: str, mails: Sequence[bytes] = ()) -> None:
        with self.users.open("a") as users:
            users.write(f"default:{user}:{{PLAIN}}{password}:b1:u/{user}\n")
        for folder in ("cur", "new", "tmp"):
            (self._mailbox(user) / folder).mkdir(parents=True)
        for number, mail in enumerate(mails, start=1):
            content = mail.replace(b"\n", b"\r\n")
            name = f"{1_700_000_000 + number}.{number}_{len(content)}"
            (self._mailbox(user) / "new" / name).write_bytes(content)

    def _mailbox(self, user: str) -> Path:
        return self.root / "u" / user

    def mails(self, user: str) -> list[bytes]:
        folders = [self._mailbox(user) / folder for folder in ("cur", "new")]
        return [path.read_bytes().replace(b"\r\n", b"\n") for folder in folders for path in sorted(folder.iterdir())]


@contextlib.contextmanager
def _mail_check(place: Path, root: Path) -> Iterator[int]:
    """A running `pcheckd`; gives its port."""
    port, rundir = free_port(), place / "check"
    rundir.mkdir()
    command = [program("pcheckd"), "--nodaemon", "-h", LOOPBACK, "-p", str(port), "-m", str(root)]
    process = subprocess.Popen([*command, "-l", str(place / "pcheckd.log"), "-r", str(rundir)])
    try:
        wait_until(lambda: _answers(port), "pcheckd answers")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(rundir)


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.2)
        asker.connect((LOOPBACK, port))
        asker.send(b"*L\r\n")
        with contextlib.suppress(OSError):
            return asker.recv(512).startswith(b"+OK ")
    return False
