"""Who is measured: one row per contestant, with how it is configured and started.

A contestant is started in an empty directory, in the foreground, with two places to work (processes or threads, as
it has them: the machine of our figures has two cores), and proxies 127.0.0.1:`port` to the POP3 server on
127.0.0.1:`backend`. Each configuration is the shortest that does the job and lets no limit or time-out strike;
everything else is as its makers ship it. README.md names what is not alike.
"""

import getpass
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import processes

BENCH = Path(__file__).parent
BIN = BENCH / "bin"
PROJECT = BENCH.parent.parent
WORKERS = 2
CONNECTIONS = 6000
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"])

HAPROXY = """
global
    nbthread {workers}
    maxconn {connections}
defaults
    mode tcp
    option clitcpka
    option srvtcpka
    timeout connect 10s
    timeout client 10m
    timeout server 10m
listen pop3
    bind 127.0.0.1:{port}
    bind 127.0.0.1:{tls} ssl crt {pem}
    server b1 127.0.0.1:{backend}
"""

NGINX = """
{load_module}
daemon off;
worker_processes {workers};
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections {files}; }}
mail {{
    server_name bench;
    auth_http 127.0.0.1:{auth}/;
    timeout 10m;
    proxy_timeout 10m;
    server {{ listen 127.0.0.1:{port} so_keepalive=on; protocol pop3; pop3_auth plain; }}
    server {{
        listen 127.0.0.1:{tls} ssl so_keepalive=on;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        protocol pop3;
        pop3_auth plain;
    }}
}}
"""

DOVECOT = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
default_internal_user = {internal_user}
default_internal_group = {internal_group}
default_login_user = {login_user}
default_client_limit = {connections}
protocols = pop3
ssl = yes
ssl_cert = <{pem}
ssl_key = <{pem}
disable_plaintext_auth = no
listen = 127.0.0.1
passdb {{
    driver = static
    args = nopassword=y proxy=y host=127.0.0.1 port={backend}
}}
service anvil {{
    chroot =
}}
service stats {{
    chroot =
}}
service pop3-login {{
    chroot = {login_chroot}
    service_count = 0
    process_min_avail = {workers}
    process_limit = {workers}
    client_limit = {connections}
    inet_listener pop3 {{
        port = {port}
    }}
    inet_listener pop3s {{
        port = {tls}
    }}
}}
"""

PPROXY = """
set maxsession {sessions}
set tlsdir {directory}/tls
backend conf b1 host 127.0.0.1 port {backend} prot POP3 state online
pdm add a any b1
vserv conf v2 iface 127.0.0.1 port {tls} prot POP3s namespace bench state online
vserv conf v1 iface 127.0.0.1 port {port} namespace bench state online
"""


@dataclass(frozen=True)
class Place:
    """Where a contestant is to run, and whom it talks to."""

    directory: Path
    port: int
    tls: int
    pem: Path
    backend: int
    auth: int


@dataclass(frozen=True)
class Contestant:
    """One row: `program` finds the executable (None: not installed), `command` writes the configuration.

    `speaks_tls`: it takes part in the workloads in TLS.
    """

    name: str
    program: Callable[[], str | None]
    command: Callable[[str, Place], Sequence[str | Path]]
    speaks_tls: bool = True


def _which(name: str) -> Callable[[], str | None]:
    return lambda: shutil.which(name, path=SBIN)


def _file(place: Place, name: str, template: str, **words: object) -> Path:
    """Writes a configuration into the contestant's directory."""
    path = place.directory / name
    known = {"workers": WORKERS, "connections": CONNECTIONS}
    text = template.format(**known, **{**asdict(place), **words})
    path.write_text(text.lstrip())
    return path


def _floor(program: str, place: Place) -> list[str | Path]:
    return [program, "-b", str(place.backend), "-p", str(place.port), "-w", str(WORKERS)]


def _haproxy(program: str, place: Place) -> list[str | Path]:
    return [program, "-db", "-q", "-f", _file(place, "haproxy.cfg", HAPROXY)]


def _nginx_modules() -> Path | None:
    nginx = _which("nginx")()
    if nginx is None:
        return None
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=10, check=True).stderr
    paths = [word.partition("=")[2] for word in built.split() if word.startswith("--modules-path=")]
    return Path(paths[0]) / "ngx_mail_module.so" if paths else None


def _nginx_with_mail() -> str | None:
    module = _nginx_modules()
    return _which("nginx")() if module and module.exists() else None


def _nginx(program: str, place: Place) -> list[str | Path]:
    load = f"load_module {_nginx_modules()};"
    path = _file(place, "nginx.conf", NGINX, load_module=load, files=3 * CONNECTIONS)
    return [program, "-e", place.directory / "error.log", "-p", place.directory, "-c", path]


def _dovecot_with_pop3() -> str | None:
    return _which("dovecot")() if Path("/usr/lib/dovecot/pop3-login").exists() else None


def _dovecot(program: str, place: Place) -> list[str | Path]:
    """As root with the users of its package; otherwise everything as who we are, and nothing in a chroot."""
    me = getpass.getuser()
    root = os.geteuid() == 0
    words = {
        "internal_user": "dovecot" if root else me,
        "internal_group": "dovecot" if root else "",
        "login_user": "dovenull" if root else me,
        "login_chroot": "login" if root else "",
    }
    return [program, "-F", "-c", _file(place, "dovecot.conf", DOVECOT, **words)]


def _pproxy_program() -> str | None:
    program = PROJECT / ".venv" / "bin" / "pproxy"
    return str(program) if program.exists() else None


def _pproxy(program: str, place: Place) -> list[str | Path]:
    """With everything on: session table, timers, counters, and the log line of every session in a file."""
    rc = _file(place, "pproxy.rc", PPROXY, sessions=10000)
    run = place.directory / "run"
    run.mkdir(mode=0o700)
    tls = place.directory / "tls"
    tls.mkdir()
    shutil.copy(place.pem, tls / "default.pem")
    log = place.directory / "pproxy.log"
    # Memory is measured in /proc: without root, only of a program that lets its user look.
    seen = [] if os.getuid() == 0 else ["--cores"]
    return [program, "-r", run, "-l", log, "-c", rc, "-w", str(WORKERS), "-n", "12000", *seen]


CONTESTANTS = (
    Contestant("floor", lambda: str(BIN / "pop3floor"), _floor, speaks_tls=False),
    Contestant("haproxy", _which("haproxy"), _haproxy),
    Contestant("nginx", _nginx_with_mail, _nginx),
    Contestant("dovecot", _dovecot_with_pop3, _dovecot),
    Contestant("pproxy", _pproxy_program, _pproxy),
)


class Running:
    """A contestant at work, in a directory of its own; ends with the `with` block."""

    def __init__(self, contestant: Contestant, program: str, place: Place) -> None:
        self.port = place.port
        self.tls = place.tls
        self.pem = place.pem
        place.directory.mkdir(mode=0o755)
        self._log = place.directory / "output"
        self._process = processes.start(contestant.command(program, place), self._log, cwd=place.directory)

    def __enter__(self) -> "Running":
        try:
            processes.wait_until_answering(self.port, self._process, self._log)
        except BaseException:
            processes.stop(self._process)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes.stop(self._process)

    def pids(self) -> list[int]:
        """All processes of the contestant, the first one first."""
        return processes.tree(self._process.pid)
