"""UTF8 (RFC 6856) against the only server of Debian's that offers it: Courier, as it is packed, installed nowhere."""

import contextlib
import os
import pwd
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE, patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, need, wait_until

PACKAGES = ("courier-pop", "courier-base", "courier-authlib", "libcourier-unicode4")
USER, PASSWORD = "jörg", "größer"
MAIL = "From: jörg@example.org\nSubject: Grüße\nContent-Type: text/plain; charset=utf-8\n\nGrüße\n"
OWNER = pwd.getpwnam("nobody")
CANNOT_SHOW = b"Subject: Cannot display Unicode content"
"""What Courier gives instead of such a mail to a client that has not said UTF8."""


class Authenticator(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The place of Courier's authdaemond: it knows one user, and where his mailbox is."""

    daemon_threads = True

    def __init__(self, path: Path, home: Path, owner: pwd.struct_passwd) -> None:
        super().__init__(str(path), _Answer)
        path.chmod(0o666)
        self.found = f"UID={owner.pw_uid}\nGID={owner.pw_gid}\nHOME={home}\nADDRESS={USER}\n.\n".encode()


class _Answer(socketserver.StreamRequestHandler):
    """`AUTH OCTETS`, service, `login`, name and password, each in a line (authlib's README.authlib)."""

    def handle(self) -> None:
        assert isinstance(self.server, Authenticator)
        while not self.rfile.readline().startswith(b"AUTH "):
            pass
        _service, kind, name, password = (self.rfile.readline().strip().decode() for _ in range(4))
        known = (kind, name, password) == ("login", USER, PASSWORD)
        self.wfile.write(self.server.found if known else b"FAIL\n")


@pytest.fixture
def courier() -> Iterator[int]:
    """The port of Courier's POP3 server, with one mail in UTF-8."""
    if os.getuid() != 0:
        pytest.skip("it becomes the user whose mailbox it opens, which only root can")
    with tempfile.TemporaryDirectory(prefix="popular-courier-") as made:
        place = Path(made)
        place.chmod(0o755)  # the user whose mailbox it is must get there
        _unpack(place)
        _fill(place)
        with _running(place) as port:
            yield port


def _unpack(place: Path) -> None:
    download = [need("apt-get"), "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    subprocess.run(download, cwd=place, check=True, capture_output=True, timeout=patient(60))
    for package in place.glob("*.deb"):
        subprocess.run([need("dpkg"), "-x", str(package), str(place / "root")], check=True, timeout=patient(20))


def _fill(place: Path) -> None:
    for part in ("new", "cur", "tmp"):
        (place / "home/Maildir" / part).mkdir(parents=True)
    (place / "home/Maildir/new/1.mail").write_text(MAIL)
    for path in (place / "home", *(place / "home").rglob("*")):
        shutil.chown(path, OWNER.pw_uid, OWNER.pw_gid)


@contextlib.contextmanager
def _running(place: Path) -> Iterator[int]:
    (place / "auth").mkdir()
    port = free_port()
    with Authenticator(place / "auth/socket", place / "home", OWNER) as authenticator:
        threading.Thread(target=authenticator.serve_forever, daemon=True).start()
        server = subprocess.Popen(_command(place, port), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _greets(port), "Courier takes connections", patient(20))
            yield port
        finally:
            server.kill()
            server.wait(PATIENCE)
            authenticator.shutdown()


def _command(place: Path, port: int) -> list[str]:
    """It finds its own libraries, and the socket of authdaemond where Debian has it; all of it ends with us."""
    root = place / "root/usr"
    wrap = [need("bwrap"), "--dev-bind", "/", "/", "--tmpfs", "/run", "--unshare-pid", "--die-with-parent"]
    wrap += ["--bind", str(place / "auth"), "/run/courier/authdaemon"]
    wrap += ["--setenv", "LD_LIBRARY_PATH", f"{root}/lib:{root}/lib/x86_64-linux-gnu"]
    listen = [f"-address={LOOPBACK}", "-maxprocs=20", "-maxperip=20", "-nodnslookup", "-noidentlookup", str(port)]
    programs = [f"{root}/lib/courier/courier/courierpop3{name}" for name in ("login", "d")]
    return [*wrap, "--", f"{root}/sbin/couriertcpd", *listen, *programs, "Maildir"]


def _greets(port: int) -> bool:
    with contextlib.suppress(OSError, AssertionError), PopClient(port, patience=patient(1)) as client:
        return client.greeted().startswith(b"+OK")
    return False


def _first_mail(port: int, *commands: str) -> bytes:
    with PopClient(port) as client:
        for command in commands:
            assert client.ask(command).startswith(b"+OK"), command
        assert client.log_in(USER, PASSWORD).startswith(b"+OK")
        mail = client.retrieve(1)
        client.ask("QUIT")
        return mail


@pytest.mark.nightly
@pytest.mark.timeout(patient(120))
def test_utf8_is_learned_offered_and_told(courier: int, tmp_path: Path) -> None:
    """After the first login CAPA offers what Courier does, and LANG, which it does not have, stays away; who says UTF8
    reads his mail as it is, and who does not reads Courier's excuse, through the proxy as without it.
    """
    port = free_port()
    rc = [
        f"backend conf courier host {LOOPBACK} port {courier} state online",
        "pdm add everyone any courier",
        f"vserv conf v1 iface {LOOPBACK} port {port} state online",
    ]
    with Proxy(tmp_path, rc, workers=1) as proxy:
        assert CANNOT_SHOW in _first_mail(port)
        wait_until(lambda: b"UTF8 USER" in _capabilities(port), "what it offers is known", patient(20))
        assert b"LANG" not in _capabilities(port)
        assert _first_mail(port, "UTF8") == _first_mail(courier, "UTF8")
        assert "Subject: Grüße".encode() in _first_mail(port, "UTF8")
        assert CANNOT_SHOW in _first_mail(port)
        with PopClient(port) as client:
            assert client.ask("UTF8").startswith(b"+OK")
            assert client.log_in(USER, "größe").startswith(b"-ERR")
        proxy.wait_until_quiet()


def _capabilities(port: int) -> list[bytes]:
    with PopClient(port) as client:
        client.ask("CAPA")
        return client.block()
