"""Real database servers on loopback, each with the same users, to be stalled, killed and started again.

Each is one class: how it is started, and how it is filled. The users: `joe` and `joe@example.org` with PASSWORD, both
with the mailbox `mail/joe` where the database has one; `max`, who is locked. As root, a server that refuses to run so
is run as nobody. What is missing fails its test in CI and skips it elsewhere (`site.need`).
"""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.bench import processes
from tests.patience import PATIENCE, patient
from tests.system import site
from tests.system.wire import LOOPBACK, free_port, wait_until

PASSWORD = "gr&n 'quoted' %u"
HASH = "{PLAIN}" + PASSWORD
USERS = ("joe", "joe@example.org")
SERVER_SECRET = "server-secret"


class Server:
    """Use it in a `with` block. `arguments` is what the module gets; NAME is the module's."""

    module = ""
    library = ""
    """What the module imports beside the standard library."""
    knows_who_exists = True
    """Whether it tells an unknown user from a wrong password."""
    has_targets = True
    letter_by_letter = True
    """Whether a name with other blanks in it is another one."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self.library and importlib.util.find_spec(self.library) is None:
            assert "CI" not in os.environ, f"{self.library} must be installed where CI is set"
            pytest.skip(f"{self.library} is not installed")
        self.home = Path(tempfile.mkdtemp(prefix="popular-database-"))
        self.home.chmod(0o755)
        (self.home / "secret").write_text(SERVER_SECRET + "\n")
        (self.home / "secret").chmod(0o600)
        try:
            self.prepare()
            self.start()
            self.fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self.kill()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def prepare(self) -> None:
        """What has to lie there before it is started."""

    def command(self) -> Sequence[str]:
        """How it is started, in the foreground."""
        raise NotImplementedError

    def fill(self) -> None:
        """Makes the users."""

    def arguments(self) -> list[str]:
        """What the module is opened with."""
        raise NotImplementedError

    def leading(self) -> list[str] | None:
        """What a module is opened with that is told where a user is; None: there is none such."""
        return None

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        with (self.home / "output").open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.home,
                **self.rights(),
            )
        wait_until(self.answers, f"{type(self).__name__} takes connections", patient(30))

    def rights(self) -> dict[str, Any]:
        """Keyword arguments of Popen."""
        return {}

    def answers(self) -> bool:
        """Whether it takes connections."""
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "output").read_text(errors="replace")[-2000:]
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), PATIENCE):
            return True
        return False

    def kill(self) -> None:
        """At once, with whatever it has started."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait(PATIENCE)
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        """To all its processes: some have groups of their own."""
        assert self.process is not None
        for pid in processes.tree(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _stands_still(self) -> bool:
        """A thread that runs on another processor goes on for a moment."""
        assert self.process is not None
        states = [
            task.read_text().rpartition(")")[2].split()[0]
            for pid in processes.tree(self.process.pid)
            for task in Path(f"/proc/{pid}/task").glob("*/stat")
        ]
        return set(states) <= {"T", "Z", "X"}

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """It takes connections, and answers nothing."""
        self._signal(signal.SIGSTOP)
        wait_until(self._stands_still, "each of its threads is stopped")
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)


def _as_nobody() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


LEADING = (
    "query",
    "SELECT pw AS password, box AS backend FROM mailbox WHERE username = :user",
    "update",
    "UPDATE mailbox SET box = :backend WHERE username = :user AND 'a:b' <> '%'",
)
"""For a table in which a user is led by his box."""


class Postgresql(Server):
    """With a table as mail sites have it; asked by a query with names that are not ours."""

    module = "sql"
    library = "psycopg_pool"
    query = (
        "SELECT pw AS password, 'store1' AS backend, box AS target, NOT active AS locked FROM mailbox"
        " WHERE username = :user AND 'a:b' <> '%'"
    )

    def prepare(self) -> None:
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        self._bin = versions[-1].parent if versions else Path(site.need("postgres")).parent
        if rights := _as_nobody():
            os.chown(self.home, int(str(rights["user"])), int(str(rights["group"])))
        words = ["initdb", "-D", str(self.home / "data"), "-U", "popular", "-A", "scram-sha-256", "--pwfile=secret"]
        if _as_nobody():
            os.chown(self.home / "secret", pwd.getpwnam("nobody").pw_uid, 0)
        subprocess.run(
            [str(self._bin / words[0]), *words[1:], "-N", "--locale=C.UTF-8"],
            cwd=self.home,
            check=True,
            capture_output=True,
            timeout=patient(60),
            **_as_nobody(),
        )
        os.chown(self.home / "secret", os.getuid(), os.getgid())

    def rights(self) -> dict[str, Any]:
        return _as_nobody()

    def command(self) -> Sequence[str]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_memory_type": "mmap",
            "dynamic_shared_memory_type": "mmap",
            "max_connections": 20,
        }
        return [
            str(self._bin / "postgres"),
            "-D",
            str(self.home / "data"),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ]

    def fill(self) -> None:
        import psycopg

        def connected() -> "psycopg.Connection[tuple[object, ...]] | None":
            with contextlib.suppress(psycopg.OperationalError):
                return psycopg.connect(self._url("postgres"), password=SERVER_SECRET, autocommit=True)
            return None

        with wait_until(connected, "PostgreSQL lets us in", patient(30)) as connection:
            connection.execute("CREATE DATABASE mail")
        with psycopg.connect(self._url("mail"), password=SERVER_SECRET) as connection:
            connection.execute("CREATE TABLE mailbox (username text PRIMARY KEY, pw text, box text, active boolean)")
            for user in USERS:
                connection.execute("INSERT INTO mailbox VALUES (%s, %s, 'mail/joe', true)", (user, HASH))
            connection.execute("INSERT INTO mailbox VALUES ('max', %s, 'mail/max', false)", (HASH,))

    def run(self, text: str) -> None:
        """Statements, in the database of the mailboxes."""
        import psycopg

        with psycopg.connect(self._url("mail"), password=SERVER_SECRET) as connection:
            connection.execute(text)

    def rows(self, query: str) -> "Sequence[tuple[Any, ...]]":
        """What it gives, in the same database."""
        import psycopg

        with psycopg.connect(self._url("mail"), password=SERVER_SECRET) as connection:
            return connection.execute(query).fetchall()

    def _url(self, database: str) -> str:
        return f"postgresql://popular@{LOOPBACK}:{self.port}/{database}"

    def arguments(self) -> list[str]:
        return [self._url("mail"), "passwordfile", str(self.home / "secret"), "query", self.query]

    def leading(self) -> list[str]:
        return [self._url("mail"), "passwordfile", str(self.home / "secret"), *LEADING]


class Mariadb(Server):
    """The table of Postgresql, in MariaDB."""

    module = "sql"
    library = "asyncmy"
    query = (
        "SELECT pw AS password, 'store1' AS backend, box AS target, NOT active AS locked FROM mailbox"
        " WHERE username = :user AND 'a:b' <> '%'"
    )

    def prepare(self) -> None:
        self._server = site.need("mariadbd")
        script = self.home / "install.sql"
        script.write_text(
            "CREATE DATABASE IF NOT EXISTS mail CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;\n"
            f"CREATE USER IF NOT EXISTS 'popular'@'127.0.0.1' IDENTIFIED BY '{SERVER_SECRET}';\n"
            "GRANT ALL ON mail.* TO 'popular'@'127.0.0.1';\n"
        )
        command = [site.need("mariadb-install-db"), "--no-defaults", f"--datadir={self.home}/data", *self._as_who()]
        command += ["--auth-root-authentication-method=socket", "--skip-test-db"]
        subprocess.run(command, check=True, capture_output=True, timeout=patient(120))

    def _as_who(self) -> list[str]:
        return ["--user=root"] if os.getuid() == 0 else []

    def command(self) -> Sequence[str]:
        return [
            self._server,
            "--no-defaults",
            f"--datadir={self.home}/data",
            f"--socket={self.home}/socket",
            f"--pid-file={self.home}/pid",
            f"--bind-address={LOOPBACK}",
            f"--port={self.port}",
            f"--init-file={self.home}/install.sql",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=8M",
            *self._as_who(),
        ]

    def fill(self) -> None:
        rows = ", ".join(f"('{user}', '{HASH.replace(chr(39), chr(39) * 2)}', 'mail/joe', 1)" for user in USERS)
        text = (
            "CREATE TABLE mailbox (username varchar(255) PRIMARY KEY, pw text, box text, active tinyint);"
            f"INSERT INTO mailbox VALUES {rows};"
            f"INSERT INTO mailbox VALUES ('max', '{HASH.replace(chr(39), chr(39) * 2)}', 'mail/max', 0);"
        )
        wait_until(lambda: self._said(text).returncode == 0, "MariaDB lets us in", patient(30))

    def run(self, text: str) -> None:
        """Statements, in the database of the mailboxes."""
        done = self._said(text)
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def _said(self, text: str) -> "subprocess.CompletedProcess[bytes]":
        words = ["--no-defaults", f"--host={LOOPBACK}", f"--port={self.port}", "--user=popular", "mail"]
        environment = {**os.environ, "MYSQL_PWD": SERVER_SECRET}
        command = [site.need("mariadb"), "--default-character-set=utf8mb4", *words]
        return subprocess.run(
            command[:1] + words[:1] + command[1:2] + words[1:],
            input=text.encode(),
            env=environment,
            capture_output=True,
            timeout=patient(120),
            check=False,
        )

    def arguments(self) -> list[str]:
        url = f"mysql://popular@{LOOPBACK}:{self.port}/mail"
        return [url, "passwordfile", str(self.home / "secret"), "query", self.query]

    def leading(self) -> list[str]:
        return [*self.arguments()[:3], *LEADING]


class RedisServer(Server):
    """A hash for each user; the backend is the module's argument."""

    module = "redis"
    library = "redis"

    def prepare(self) -> None:
        self._server = site.need("redis-server")

    def command(self) -> Sequence[str]:
        words = ["--bind", LOOPBACK, "--port", str(self.port), "--requirepass", SERVER_SECRET, "--save", ""]
        return [self._server, *words, "--dir", str(self.home), "--appendonly", "yes"]

    def client(self) -> Any:
        """To fill it by."""
        import redis

        return redis.Redis(LOOPBACK, self.port, password=SERVER_SECRET)

    def fill(self) -> None:
        with self.client() as client:
            for user in USERS:
                client.hset(f"mail:{user}", mapping={"password": HASH, "target": "mail/joe", "shell": "none"})
            client.hset("mail:max", mapping={"password": HASH, "locked": "1"})

    def arguments(self) -> list[str]:
        words = ["key", "mail:%u", "backend", "store1", "passwordfile", str(self.home / "secret")]
        return [f"redis://{LOOPBACK}:{self.port}/0", *words]

    def leading(self) -> list[str]:
        return self.arguments()


_SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw {secret}
directory {home}/data
{more}
"""
_ENTRIES = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people
"""
_PERSON = """
dn: uid={user},ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: {user}
cn: {user}
sn: {user}
mail: {user}
roomNumber: mail/joe
userPassword: {password}
"""


class Slapd(Server):
    """OpenLDAP: the password is tried by a bind."""

    module = "ldap"
    library = "ldap"
    letter_by_letter = False  # RFC 4518 section 2.6.1
    more = "maxsize 10485760"
    """What else its configuration says of the database."""

    def prepare(self) -> None:
        self._server = site.need("slapd")
        (self.home / "data").mkdir()
        (self.home / "slapd.conf").write_text(_SLAPD.format(home=self.home, secret=SERVER_SECRET, more=self.more))
        entries = _ENTRIES + "".join(_PERSON.format(user=user, password=PASSWORD) for user in USERS)
        (self.home / "entries").write_text(entries)
        command = [site.need("slapadd"), "-f", str(self.home / "slapd.conf"), "-l", str(self.home / "entries")]
        subprocess.run(command, check=True, capture_output=True, timeout=patient(30))

    def command(self) -> Sequence[str]:
        words = ["-f", str(self.home / "slapd.conf"), "-h", f"ldap://{LOOPBACK}:{self.port}", "-d", "0"]
        return [self._server, *words]

    def arguments(self) -> list[str]:
        words = ["base", "ou=people,dc=example,dc=org", "filter", "(mail=%u)", "binddn", "cn=admin,dc=example,dc=org"]
        words += ["passwordfile", str(self.home / "secret"), "backend", "store1", "targetattribute", "roomNumber"]
        return [f"ldap://{LOOPBACK}:{self.port}", *words]


_NGINX = """\
daemon off;
pid {home}/pid;
error_log {home}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    map_hash_bucket_size 256;
    map "$http_x_auth_key|$http_auth_method|$http_auth_user|$http_auth_pass" $status_told {{
        default "Invalid login or password";
        {users}
    }}
    server {{
        set $words "{words}";
        listen {address}:{port};
        location / {{
            if ($http_auth_user = "{fails_at}") {{
                return 500;
            }}
            if ($http_auth_user = "{talks_at}") {{
                add_header X-Words "$words$words$words";
                return 200;
            }}
            add_header Auth-Status $status_told;
            add_header Auth-Server 127.0.0.9;
            add_header Auth-Port 1110;
            add_header Auth-User mail/joe;
            return 200;
        }}
    }}
}}
"""


class AuthHttp(Server):
    """A web server that answers as nginx's `auth_http` has it; it compares what it is sent letter by letter."""

    module = "http"
    library = "aiohttp"
    knows_who_exists = False
    fails_at, talks_at = "odd", "long"
    """Names at which its script would end with 500, and answer with a header that is too long."""

    def prepare(self) -> None:
        self._server = site.need("nginx")
        sent = PASSWORD.replace("%", "%25").replace(" ", "%20")
        wanted = (re.escape(f"{SERVER_SECRET}|plain|{user}|{sent}") for user in USERS)  # a text would fit in any case
        users = "".join(f'"~^{text}$" OK;\n        ' for text in wanted)
        (self.home / "nginx.conf").write_text(
            _NGINX.format(
                home=self.home,
                address=LOOPBACK,
                port=self.port,
                users=users,
                fails_at=self.fails_at,
                talks_at=self.talks_at,
                words="x" * 3000,
            )
        )

    def command(self) -> Sequence[str]:
        return [self._server, "-e", str(self.home / "error.log"), "-c", str(self.home / "nginx.conf")]

    def arguments(self) -> list[str]:
        words = ["backend", "store1", "header", "X-Auth-Key", "passwordfile", str(self.home / "secret")]
        return [f"http://{LOOPBACK}:{self.port}/auth", *words]


_DOVECOT = """\
base_dir = {home}/run
state_dir = {home}/run
log_path = {home}/log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
{rights}
{more}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {home}/users
}}
userdb {{
  driver = static
  args = uid=1 gid=1 home=/nonexistent
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
"""


class DovecotAuth(Server):
    """Dovecot's authentication server, without POP3."""

    module = "dovecot"
    knows_who_exists = False
    has_targets = False
    mechanisms = "plain"
    more = ""
    """What else its configuration says."""

    def users(self) -> str:
        """Its file of users."""
        return "".join(f"{user}:{HASH}\n" for user in USERS)

    def prepare(self) -> None:
        self._server = site.need("dovecot")
        (self.home / "users").write_text(self.users())
        rights = ""
        if os.getuid() != 0:
            user = pwd.getpwuid(os.getuid()).pw_name
            rights = f"default_internal_user = {user}\ndefault_login_user = {user}\n"
        more = self.more.format(home=self.home)
        told = {"rights": rights, "mechanisms": self.mechanisms, "more": more}
        text = _DOVECOT.format(home=self.home, **told)
        (self.home / "dovecot.conf").write_text(text)

    def command(self) -> Sequence[str]:
        return [self._server, "-F", "-c", str(self.home / "dovecot.conf")]

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "output").read_text(errors="replace")[-2000:]
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.home / "run" / "auth-client"))
            return True
        return False

    def arguments(self) -> list[str]:
        return [str(self.home / "run" / "auth-client"), "backend", "store1"]


SERVERS = (Postgresql, Mariadb, RedisServer, Slapd, AuthHttp, DovecotAuth)
