"""What is written about a session: its one log line, and what the debug options show of its connections and its login.

Whoever shows something looks first whether any debug option is set; here each looks for its own.
"""

from typing import TypeAlias

from popular.messages import SESSION_END
from popular.net.channel import Channel
from popular.net.client import ClientConnection
from popular.net.handshake import Agreed
from popular.net.tlschannel import TlsChannel
from popular.pdm.contract import PASSWORD, Question
from popular.protocol.replies import without_words
from popular.protocol.shown import without_secrets
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.header_reader import local_end
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.shared.runtime import VservRuntime
from supervisor.runtime.logline import Often

Traffic: TypeAlias = tuple[int, int, int, int]
"""Octets so far: received from the client and sent to it, all of them; received from the backend and sent to it, those
that were passed on. A plain tuple, because one with names takes ten times as long to make.
"""

_FIELDS = "client vserv namespace user backend target ending seconds received sent tls cipher via"
_SESSION_END = Often(SESSION_END, tuple(_FIELDS.split()))

NO_TRAFFIC: Traffic = (0, 0, 0, 0)


def log_begin(runtime: VservRuntime, sid: str, peer: tuple[str, int], *, client: ClientConnection) -> None:
    """A connection was accepted (debug option NET)."""
    log = runtime.context.log
    if "NET" in log.options:
        host, port = local_end(client.channel.connection) or ("", 0)
        fields = {"vserv": runtime.rules.vserv, "client": peer[0], "port": peer[1], "local": host, "local_port": port}
        log.debug("NET", "accepted", sid, **fields, fd=client.channel.fd)


def log_introduced(runtime: VservRuntime, sid: str, peer: tuple[str, int], *, via: str) -> None:
    """The PROXY header told who the client is (debug option NET)."""
    runtime.context.log.debug("NET", "introduced", sid, client=peer[0], port=peer[1], via=via)


def log_attempt(runtime: VservRuntime, sid: str, question: Question) -> None:
    """Debug option PASS. Of what is no password only the kind is shown: a token opens more than a mailbox."""
    log = runtime.context.log
    if "PASS" in log.options:
        password = question.password.reveal().decode(errors="replace")
        shown = {"password": password} if question.kind == PASSWORD else {"kind": question.kind}
        log.debug("PASS", "attempt", sid, namespace=question.namespace, user=question.user, **shown)


def log_connecting(runtime: VservRuntime, sid: str, backend: BackendRuntime) -> None:
    """The connection to the backend is begun (debug option NET)."""
    where = {"backend": backend.id, "host": backend.settings.host, "address": backend.address, "port": backend.port}
    runtime.context.log.debug("NET", "connecting", sid, **where)


def log_connected(runtime: VservRuntime, sid: str, backend: str, *, channel: Channel, seconds: float) -> None:
    """The connection to the backend stands (debug options NET and TLS)."""
    host, port = local_end(channel.connection) or ("", 0)
    facts = {"backend": backend, "local": host, "local_port": port, "seconds": round(seconds, 6)}
    runtime.context.log.debug("NET", "connected", sid, **facts)
    log_backend_tls(runtime, sid, channel)


def log_backend_tls(runtime: VservRuntime, sid: str, channel: Channel) -> None:
    """What was agreed on in TLS with the backend, if it has TLS (debug option TLS)."""
    if isinstance(channel, TlsChannel):
        about = channel.about
        cipher, resumed = (about.cipher() or ("",))[0], str(bool(about.session_reused))
        version = about.version() or ""
        runtime.context.log.debug("TLS", "backend_handshake", sid, version=version, cipher=cipher, resumed=resumed)


def log_heard(runtime: VservRuntime, sid: str, data: bytes) -> None:
    """What the backend says before it is joined with the client (debug option POP). Its words, without the password,
    are in the lines of failures.
    """
    log = runtime.context.log
    line, _, rest = data.partition(b"\r\n")
    shown = line.decode(errors="replace") if "PASS" in log.options else without_words(line)
    log.debug("POP", "backend", sid, line=shown, octets=len(line), more=len(rest))


def log_said(runtime: VservRuntime, sid: str, data: bytes, *, is_open: bool) -> None:
    """What the backend is told (debug option POP). Secrets only with PASS, unless it `is_open`: XPOP has none."""
    log = runtime.context.log
    shows = is_open or "PASS" in log.options
    for line in data.splitlines():
        log.debug("POP", "proxy", sid, line=line.decode(errors="replace") if shows else without_secrets(line))


def milliseconds(seconds: float) -> float:
    """Whole milliseconds, in seconds: so the log has them."""
    return int(1000 * seconds + 0.5) / 1000


def log_end(
    runtime: VservRuntime,
    machine: Machine,
    sid: str,
    ending: str,
    seconds: float,
    traffic: Traffic,
    agreed: Agreed | None,
    via: str,
) -> None:
    """The whole session in one line. `via`: who brought the PROXY header."""
    log = runtime.context.log
    if log.options and "NET" in log.options:
        log.debug("NET", "closed", sid, client=machine.peer_ip, reason=ending, received=traffic[0], sent=traffic[1])
    facts = (  # in the order of _FIELDS
        machine.peer_ip,
        runtime.rules.vserv,
        machine.namespace,
        machine.user,
        machine.backend_id,
        machine.target,
        ending,
        milliseconds(seconds),
        traffic[0],
        traffic[1],
        agreed.version if agreed is not None else "",
        agreed.cipher if agreed is not None else "",
        via,
    )
    log.often(_SESSION_END, sid, facts)
