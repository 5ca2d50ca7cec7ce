"""Who is measured: one row per contestant, with how it is configured and started.

A contestant is started in an empty directory, in the foreground, with two places to work (processes or threads, as
it has them: the machine of our figures has two cores), and proxies 127.0.0.1:`port`, in TLS 127.0.0.1:`tls`, to the
POP3 server on 127.0.0.1:`backend`. Each configuration is the shortest that does the job and lets no limit or time-out
strike; everything else is as its makers ship it. README.md names what is not alike.
"""

import functools
import getpass
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import processes
from tests.patience import patient

BENCH = Path(__file__).parent
BIN = BENCH / "bin"
PROJECT = BENCH.parent.parent
WORKERS = 2
START_SECONDS = patient(30)  # also where a compiler's run goes on beside
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
CONNECTIONS = min(6000, (DESCRIPTORS - 100) // 2)
"""How many each contestant has room for; each takes two descriptors."""
SESSIONS = 12000
"""The most that pproxy is set to serve at once."""
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
    ssl_protocols TLSv1.2 TLSv1.3;
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
{lines}
backend conf b1 host 127.0.0.1 port {backend} {words} state online
{modules}
vserv conf v2 iface 127.0.0.1 port {tls} prot POP3s namespace bench state online
vserv conf v1 iface 127.0.0.1 port {port} namespace bench state online
"""


@dataclass(frozen=True)
class Setup:
    """What a workload wants of the place: which store stands behind, the key of the certificate, and, of pproxy only,
    the words of its backend, other modules, and lines before. `pipelining` is "" for what it does unasked.
    """

    store: str = "mails"
    key: str = "rsa"
    prot: str = "prot POP3"
    pipelining: str = ""
    modules: str = "pdm add a any b1"
    lines: str = ""


@dataclass(frozen=True)
class Place:
    """Where a contestant is to run, and whom it talks to."""

    directory: Path
    port: int
    tls: int
    pem: Path
    backend: int
    auth: int
    setup: Setup

    def words(self) -> dict[str, object]:
        """For the templates of the configurations."""
        return {name: getattr(self, name) for name in ("directory", "port", "tls", "pem", "backend", "auth")}


@dataclass(frozen=True)
class Contestant:
    """One row: `program` finds the executable (None: not installed), `command` writes the configuration.

    `version`: how the program is asked for it. `speaks_tls`: it takes part in the workloads in TLS. `ours`: it is this
    project, and takes part in what only pproxy can do. `only_asked`: measured only when it is named. `cannot`: by
    workload, why it does not take part.
    """

    name: str
    program: Callable[[], str | None]
    command: Callable[[str, Place], Sequence[str | Path]]
    version: tuple[str, ...] = ()
    speaks_tls: bool = True
    ours: bool = False
    only_asked: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)


def _which(name: str) -> Callable[[], str | None]:
    return lambda: shutil.which(name, path=SBIN)


def _file(place: Place, name: str, template: str, **words: object) -> Path:
    """Writes a configuration into the contestant's directory."""
    path = place.directory / name
    known = {"workers": WORKERS, "connections": CONNECTIONS}
    text = template.format(**known, **place.words(), **words)
    path.write_text(text.lstrip())
    return path


def _floor(program: str, place: Place) -> list[str | Path]:
    return [program, "-b", str(place.backend), "-p", str(place.port), "-w", str(WORKERS)]


def _haproxy(program: str, place: Place) -> list[str | Path]:
    return [program, "-db", "-f", _file(place, "haproxy.cfg", HAPROXY)]


def _nginx_modules() -> Path | None:
    nginx = _which("nginx")()
    if nginx is None:
        return None
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=patient(10), check=True).stderr
    paths = [word.partition("=")[2] for word in built.split() if word.startswith("--modules-path=")]
    return Path(paths[0]) / "ngx_mail_module.so" if paths else None


def _nginx_with_mail() -> str | None:
    module = _nginx_modules()
    return _which("nginx")() if module and module.exists() else None


def _nginx(program: str, place: Place) -> list[str | Path]:
    load = f"load_module {_nginx_modules()};"
    path = _file(place, "nginx.conf", NGINX, load_module=load, files=min(3 * CONNECTIONS, DESCRIPTORS))
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


def _pproxy_of(checkout: Path) -> Callable[[], str | None]:
    program = checkout / ".venv" / "bin" / "pproxy"
    return lambda: str(program) if program.exists() else None


@functools.cache
def knows_pipelining(program: str) -> bool:
    """Whether this pproxy has the word `pipelining` for a backend: it is asked."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        rc = Path(directory) / "rc"
        rc.write_text("backend conf b1 host 127.0.0.1 port 110 prot POP3 pipelining on state online\n")
        asked = [program, "--check", "-c", str(rc)]
        return subprocess.run(asked, capture_output=True, timeout=patient(60), check=False).returncode == 0


def _pproxy(program: str, place: Place) -> list[str | Path]:
    """With everything on: session table, timers, counters, exporter, and the log line of every session in a file."""
    setup = place.setup
    words = setup.prot
    if setup.pipelining and knows_pipelining(program):
        words += f" pipelining {setup.pipelining}"
    lines = setup.lines.format(**place.words())
    rc = _file(place, "pproxy.rc", PPROXY, sessions=SESSIONS, words=words, modules=setup.modules, lines=lines)
    run = place.directory / "run"
    run.mkdir(mode=0o700)
    tls = place.directory / "tls"
    tls.mkdir()
    shutil.copy(place.pem, tls / "default.pem")
    log = place.directory / "pproxy.log"
    # Memory is measured in /proc: without root, only of a program that lets its user look.
    seen = [] if os.getuid() == 0 else ["--cores"]
    limits = ["-w", str(WORKERS), "-n", str(SESSIONS), "--metrics", "127.0.0.1:0"]
    return [program, "-r", run, "-l", log, "-c", rc, *limits, *seen]


CONTESTANTS = (
    Contestant("floor", lambda: str(BIN / "pop3floor"), _floor, speaks_tls=False),
    Contestant("haproxy", _which("haproxy"), _haproxy, version=("-v",)),
    Contestant("nginx", _nginx_with_mail, _nginx, version=("-v",)),
    Contestant(
        "dovecot",
        _dovecot_with_pop3,
        _dovecot,
        version=("--version",),
        cannot=dict.fromkeys(
            ("tls-resumed", "tls12-resumed"), "each of its login processes has ticket keys of its own"
        ),
    ),
    Contestant("pproxy", _pproxy_of(PROJECT), _pproxy, version=("--version",), ours=True),
    Contestant(
        "pproxy-pure",
        _pproxy_of(PROJECT),
        _pproxy,
        version=("--version",),
        ours=True,
        only_asked=True,
        environment={"POPULAR_PURE": "1"},
    ),
)


def other(checkout: Path) -> Contestant:
    """Another checkout of this project, with its own environment: an older commit beside a newer one."""
    return Contestant("other", _pproxy_of(checkout.resolve()), _pproxy, version=("--version",), ours=True)


def version_of(contestant: Contestant, program: str) -> str:
    """What the program says that it is; "" for one that has no version."""
    if not contestant.version:
        return ""
    said = subprocess.run(
        [program, *contestant.version],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=True,
        env={**os.environ, **contestant.environment},
    )
    return (said.stdout + said.stderr).strip().splitlines()[0].partition(" - ")[0]


class Running:
    """A contestant at work, in a directory of its own; ends with the `with` block."""

    def __init__(self, contestant: Contestant, program: str, place: Place) -> None:
        self.port = place.port
        self.tls = place.tls
        self.pem = place.pem
        self.directory = place.directory
        place.directory.mkdir(mode=0o755)
        self._log = place.directory / "output"
        environment = {**os.environ, **contestant.environment}
        command = contestant.command(program, place)
        self._process = processes.start(command, self._log, cwd=place.directory, env=environment)

    def __enter__(self) -> "Running":
        try:
            processes.wait_until_answering(self.port, self._process, self._log, START_SECONDS)
        except BaseException:
            processes.stop(self._process)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes.stop(self._process)

    def pids(self) -> list[int]:
        """All processes of the contestant, the first one first."""
        return processes.tree(self._process.pid)
