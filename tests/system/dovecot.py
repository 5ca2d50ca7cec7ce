"""A real Dovecot on loopback, POP3 only, with its own users, mails and files; as root or as an ordinary user.

As root it hands the mailboxes to the user nobody, because Dovecot opens no mail as root. Its directory is not below
pytest's, which only its owner may enter.
"""

import contextlib
import getpass
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.patience import PATIENCE
from tests.system import site
from tests.system.certificates import Leaf
from tests.system.wire import LOOPBACK, free_port, wait_until

_CONFIGURATION = """\
base_dir = {home}/run
state_dir = {home}/run
log_path = {home}/log
protocols = pop3
listen = 127.0.0.1, 127.0.0.2
{tls}
{trust}
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
mail_max_userip_connections = 100
mail_location = maildir:{home}/mail/%u
pop3_no_flag_updates = no
first_valid_uid = 1
{rights}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/users/%u
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%u
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
  }}
  inet_listener pop3_haproxy {{
    port = {haproxy_port}
    haproxy = yes
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""

_TLS = """\
ssl = yes
ssl_cert = <{home}/tls/dovecot.pem
ssl_key = <{home}/tls/dovecot.key
"""

_TRUST = """\
login_trusted_networks = 127.0.0.0/8
haproxy_trusted_networks = 127.0.0.0/8
"""

_AS_ORDINARY_USER = """\
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
"""


class Dovecot:
    """Use it in a `with` block. `add_user` may be called at any time; the ports are there from the beginning.

    `port` speaks POP3, with STLS if there is a certificate; `tls_port` POP3 in TLS; `haproxy_port` POP3 after a PROXY
    header.
    """

    def __init__(self, certificate: Leaf | None = None, trusting: bool = True, extra: str = "", **files: str) -> None:
        """`trusting`: believes XCLIENT and the PROXY header of everybody on loopback; `extra`: more of its
        configuration, in which {home} is its directory; `files`: what lies there, by name. Skips the test, or fails it,
        where Dovecot is missing (see `site.need`).
        """
        self._binary = site.need("dovecot")
        self._certificate = certificate
        self._trusting = trusting
        self._extra = extra
        self._files = files
        self.port, self.tls_port, self.haproxy_port = free_port(), free_port(), free_port()
        self._owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())

    def __enter__(self) -> "Dovecot":
        self.home = Path(tempfile.mkdtemp(prefix="popular-dovecot-"))
        self.home.chmod(0o755)
        (self.home / "mail").mkdir()
        (self.home / "users").mkdir()
        if self._certificate is not None:
            (self.home / "tls").mkdir()
            self._certificate.write(self.home / "tls", "dovecot")
        for name, text in self._files.items():
            (self.home / name).write_text(text)
        configuration = self.home / "dovecot.conf"
        configuration.write_text(self._configuration())
        os.chown(self.home / "mail", self._owner.pw_uid, self._owner.pw_gid)
        command = [self._binary, "-F", "-c", str(configuration)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            wait_until(self._greets, "Dovecot greets")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _configuration(self) -> str:
        rights = ""
        if os.getuid() != 0:
            rights = _AS_ORDINARY_USER.format(user=getpass.getuser(), group=grp.getgrgid(os.getgid()).gr_name)
        owner = self._owner
        return _CONFIGURATION.format(
            home=self.home,
            rights=rights,
            uid=owner.pw_uid,
            gid=owner.pw_gid,
            port=self.port,
            tls_port=self.tls_port if self._certificate else 0,
            haproxy_port=self.haproxy_port,
            tls=_TLS.format(home=self.home) if self._certificate else "ssl = no",
            trust=_TRUST if self._trusting else "",
        ) + self._extra.format(home=self.home)

    def _greets(self) -> bool:
        assert self.process.poll() is None, f"Dovecot ended: {self.process.communicate()[1]!r} {self.log()}"
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), PATIENCE) as probe:
            return probe.recv(512).startswith(b"+OK")
        return False

    def log(self) -> str:
        """What it has logged."""
        path = self.home / "log"
        return path.read_text() if path.exists() else ""

    def __exit__(self, *_exception: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            assert self.process.stderr is not None
            self.process.stderr.close()
            shutil.rmtree(self.home)

    def add_user(self, user: str, password: str, mails: Sequence[bytes] = ()) -> None:
        """A user with a new mailbox; the mails (line ends as they are) get the numbers 1, 2, … in their order."""
        # A file for each: Dovecot reads a file again only when its time of change, in seconds, is another one.
        (self.home / "users" / user).write_text(f"{user}:{{PLAIN}}{password}\n")
        self.fill(user, mails)

    def fill(self, user: str, mails: Sequence[bytes]) -> None:
        """Replaces the content of a mailbox that nobody has open."""
        maildir = self.home / "mail" / user
        shutil.rmtree(maildir, ignore_errors=True)
        for folder in ("cur", "new", "tmp"):
            (maildir / folder).mkdir(parents=True)
        for number, mail in enumerate(mails, start=1):
            (maildir / "new" / f"{1_700_000_000 + number}.M{number:06}.test").write_bytes(mail)
        for path in (maildir, *maildir.rglob("*")):
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    def mails(self, user: str) -> list[bytes]:
        """What is in a mailbox now, in no order."""
        maildir = self.home / "mail" / user
        return [path.read_bytes() for folder in ("cur", "new") for path in sorted((maildir / folder).iterdir())]
