"""Backends as a sort of things: what must not be in one, of itself and beside the others, and what may be a mistake."""

from collections.abc import Iterator

from popular.proxy.settings.backend import (
    CONNECT,
    EXTERNAL,
    IMPLICIT,
    LOGIN,
    MASTER,
    OFF,
    OURS_ALONE,
    POP3,
    SEPARATOR,
    STARTTLS,
    USER,
    Backend,
    blind_note,
    fits,
    leads_back,
    leads_blindly_to,
    let_everybody_in,
)
from popular.proxy.settings.health import known_of
from popular.proxy.settings.order_sorts import DRAINED_BACKEND, drain_note
from supervisor.config import Config
from supervisor.control.commands.things import Sort
from supervisor.control.language.context import CommandContext
from supervisor.control.words import CommandRefused

CHAPTER = "Runtime configuration: the backend command"


def _check(context: CommandContext, config: Config, backend: Backend) -> str | None:
    _check_prot(backend)
    for address in backend.addresses:
        if not fits(backend.source, address):
            raise CommandRefused(f"source: {backend.source} cannot reach {address}; say both as IPv4 or as IPv6")
    _check_login(config, backend)
    _check_health(backend)
    _check_backup(config, backend)
    if config.variables["fallback"] == backend.id and backend.prot != POP3:
        raise CommandRefused(f"it is the fallback, which is asked by {POP3}; `set fallback` to another one first")
    if backend.state == "online" and not backend.address:
        raise CommandRefused("it cannot go online without a host: say `host HOST` too")
    for vserv in config.things["vserv"].values():
        if leads_back(context, vserv, backend):
            raise CommandRefused(
                f"{','.join(backend.addresses)} port {backend.port} is our own vserv {vserv.id}: the proxy would call "
                "itself"
            )
    return "; ".join(_doubts(context, config, backend)) or None


def _doubts(context: CommandContext, config: Config, backend: Backend) -> Iterator[str]:
    """What may be meant so, or be a mistake. An address may come to this host later (VRRP)."""
    if drained := drain_note(context, DRAINED_BACKEND, backend.id):
        yield drained
    if backend.source and not context.lookups.local_address(backend.source):
        yield f"source: {backend.source} is none of this host's addresses now; until it is, nobody gets to the backend"
    if backend.backup and backend.backup not in config.things["backend"]:
        yield f'no backend "{backend.backup}" is configured yet'
    for module in config.things["pdm"].values():
        if leads_blindly_to(module, backend):
            yield blind_note(module, backend)
    for double in backend.host.doubles:
        yield f"{double.name} is {double.address} too: as long as that is so it is no place of its own"


def _check_prot(backend: Backend) -> None:
    if backend.prot == POP3:
        return
    if backend.tls == STARTTLS:
        raise CommandRefused(f"tls: {backend.prot} has no command that starts TLS; allowed there: {OFF}, {IMPLICIT}")
    if backend.xclient:
        raise CommandRefused(f"xclient: {backend.prot} has no XCLIENT, its request holds the session id already")
    if backend.absorb:
        raise CommandRefused(f"absorb: for {POP3}; of a mailbox behind pserv, CXPOP asks pcheckd whether there is mail")
    if backend.login != USER:
        raise CommandRefused(f"login: {backend.prot} names a mailbox, and no user logs in there; allowed: {USER}")


def _check_health(backend: Backend) -> None:
    if backend.health in (OFF, CONNECT):
        return
    if backend.prot != POP3:
        raise CommandRefused(f"health: {backend.prot} does not greet; allowed there: {OFF}, {CONNECT}")
    if backend.health == LOGIN:
        needed = {"healthuser NAME": backend.healthuser}
        if backend.login not in OURS_ALONE:
            needed["healthsecret FILE"] = backend.healthsecret.path
        missing = [f"`{words}`" for words, value in needed.items() if not value]
        if missing:
            raise CommandRefused(f"health {LOGIN}: say {' and '.join(missing)} too")


def _check_backup(config: Config, backend: Backend) -> None:
    if backend.backup == backend.id:
        raise CommandRefused("backup: it is the backend itself; say another one that has the same mail")
    other = config.things["backend"].get(backend.backup)
    if other is not None and other.login in OURS_ALONE and backend.login not in OURS_ALONE:
        raise CommandRefused(f"backup: its users would go to {other.id}, {let_everybody_in(other)}")


def _check_login(config: Config, backend: Backend) -> None:
    if backend.login == MASTER:
        needed = {"masteruser NAME": backend.masteruser, "mastersecret FILE": backend.mastersecret.path}
        needed |= {"masterseparator TEXT": backend.masterseparator} if backend.masterform == SEPARATOR else {}
        missing = [f"`{words}`" for words, value in needed.items() if not value]
        if missing:
            raise CommandRefused(f"login {MASTER}: say {' and '.join(missing)} too")
    elif backend.login == EXTERNAL and not backend.needed_certificates:
        raise CommandRefused(
            f"login {EXTERNAL}: the backend knows us by our certificate; say `tls {STARTTLS}` or `tls {IMPLICIT}`, and "
            "`tlscert NAME`, too"
        )
    if backend.login in OURS_ALONE:
        _check_who_leads_here(config, backend)


def _check_who_leads_here(config: Config, backend: Backend) -> None:
    """Nobody comes to such a backend whose password nobody has looked at."""
    if config.variables["fallback"] == backend.id:
        raise CommandRefused(f"it is the fallback, {let_everybody_in(backend)}; `set fallback` to another one first")
    for other in config.things["backend"].values():
        if other.backup == backend.id and other.login not in OURS_ALONE:
            raise CommandRefused(f"it is the backup of {other.id}, {let_everybody_in(backend)}")
    for module in config.things["pdm"].values():
        if leads_blindly_to(module, backend):
            raise CommandRefused(blind_note(module, backend))


def _check_gone(_context: CommandContext, config: Config, ident: str) -> str | None:
    return f"it is still named as fallback: {ident}" if config.variables["fallback"] == ident else None


BACKEND = Sort("backend", Backend, "backend", check=_check, check_gone=_check_gone, known=known_of, source=CHAPTER)
