"""The certificates of virtual servers and backends: the commands about them, and what a new config needs of `tlsdir`.

Nothing is read, and no process is started for it, while nobody needs TLS (see `users.py` for who does).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from popular import messages
from popular.tls.authorities import MOST_CA_OCTETS, Authorities, CaFile
from popular.tls.certificate import Certificate
from popular.tls.directory import CertificateStore, Digests, LookAt, ReadAll, digest, renewed
from popular.tls.users import CA_PARAMETERS, SORT, certificate_store_of, needed_certificates, servers_in_tls
from supervisor.config import Config
from supervisor.control.context import Arguments, CommandContext, ControlCommand
from supervisor.control.lookups import Unfit
from supervisor.control.outcome import Change, LogEntry, Outcome, Reply
from supervisor.control.replytext import lines_of, noted
from supervisor.control.variables import BESIDE
from supervisor.control.words import CommandRefused
from supervisor.program import PeriodicCommand
from supervisor.runtime.plural import count_of

CHECK = "tls check"
PERIODIC = PeriodicCommand(CHECK, "tlswatch")

_DAY = 86_400
_MOST_NOTES = 3


def supply(context: CommandContext, change: Change) -> Change:
    """Reads `tlsdir` for a config that needs more of it than was read. See Program.supply."""
    config = change.config
    if config.things[SORT].keys() - {config.variables["tlsdir"]}:
        config = config.without_things(SORT)
    known = context.config.things[SORT].get(config.variables["tlsdir"])
    if known is not None and certificate_store_of(config) is None:  # a whole config, which begins without
        config = _with_store(config, known)
        # A start with this very configuration would find the file as it is now.
        faulty = sorted(known.faults.keys() & _needed(config))
        notes = [f"{name}.pem, of which an earlier reading is in use: {known.faults[name]}" for name in faulty]
        change = replace(change, text=noted(change.text, *notes))
    before, needed = certificate_store_of(config), _needed(config)
    if needed and (before is None or not needed <= before.certificates.keys()):
        try:
            after = renewed(before, context.lookups.find(ReadAll(config.variables["tlsdir"])), needed)
        except Unfit as unfit:
            raise CommandRefused(f"TLS needs a certificate, and tlsdir cannot be read: {unfit}") from None
        config = _with_store(config, after)
        change = replace(change, text=_with_notes(change.text, after), entries=[*change.entries, *_news(before, after)])
    _check_users(config)
    return replace(change, config=config)


def _needed(config: Config) -> set[str]:
    return {name for _whom, name in needed_certificates(config)}


def _with_store(config: Config, store: CertificateStore) -> Config:
    return config.without_things(SORT).with_thing(SORT, store.directory, store)


def _check_users(config: Config) -> None:
    """Raises CommandRefused if somebody would have no certificate to show."""
    store = certificate_store_of(config)
    for whom, name in needed_certificates(config):
        if store is None or name in store.certificates:
            continue
        reason = store.faults.get(name, f"{name}.pem is not there")
        raise CommandRefused(f"{whom}: TLS needs the certificate {name}.pem in {store.directory}: {reason}")


def _with_notes(text: str, store: CertificateStore, others: Sequence[str] = ()) -> str:
    faults = [*others, *(f"{name}.pem: {reason}" for name, reason in store.faults.items())]
    more = [f"{len(faults) - _MOST_NOTES} more (tls list)"] if len(faults) > _MOST_NOTES else []
    return noted(text, *faults[:_MOST_NOTES], *more)


def _news(before: CertificateStore | None, after: CertificateStore) -> Iterator[LogEntry]:
    """What is new, for the log."""
    had = before.certificates if before is not None else {}
    complained = before.faults if before is not None else {}
    for name, one in after.certificates.items():
        if name not in had or had[name].fingerprint != one.fingerprint:
            fields = {"certificate": name, "names": " ".join(one.names), "key": one.key_type, "until": _date(one)}
            yield messages.CERTIFICATE_TAKEN, {**fields, "serial": f"{one.serial:x}"}
    for name in had.keys() - after.certificates.keys():
        yield messages.CERTIFICATE_GONE, {"certificate": name}
    for name, reason in after.faults.items():
        if complained.get(name) != reason:
            yield messages.CERTIFICATE_FAULT, {"file": f"{after.directory}/{name}.pem", "reason": reason}


def _reload(context: CommandContext, _arguments: Arguments) -> Outcome:
    config, distrusted, news = _with_authorities(context, context.config)
    before = certificate_store_of(config)
    found = context.lookups.find(ReadAll(config.variables["tlsdir"]))
    if before is not None and found.read_at < before.read_at:  # another command was faster
        found = before
    after = renewed(before, found, _needed(config))
    text = _with_notes(count_of(len(after.certificates), "certificate"), after, list(distrusted.values()))
    if after == before and config is context.config:
        return Reply(f"{text}; nothing has changed")
    return _taken_up(text, _with_store(config, after), [*_news(before, after), *news])


def _taken_up(text: str, config: Config, news: Sequence[LogEntry]) -> Change:
    lines = [" ".join([message.name, *map(str, fields.values())]) for message, fields in news]
    return Change(text, lines=lines, data=lines, config=config, entries=news)


def _authorities_in(config: Config) -> Iterator[tuple[str, str, Any, Authorities]]:
    """Every use of a file of CA certificates: sort, parameter, thing, and what was read."""
    for sort, parameter in CA_PARAMETERS.items():
        for thing in config.things.get(sort, {}).values():
            if getattr(thing, parameter).path:
                yield sort, parameter, thing, getattr(thing, parameter)


def _with_authorities(context: CommandContext, config: Config) -> tuple[Config, dict[str, str], list[LogEntry]]:
    """The config with each file of CA certificates read anew; why one stays as it was, by path; both for the log."""
    faults: dict[str, str] = {}
    taken: dict[str, None] = {}
    for sort, parameter, thing, old in _authorities_in(config):
        try:
            read = CaFile().parse(old.path, context.lookups)
        except Unfit as unfit:
            faults[old.path] = f"{thing.id}: {parameter} stays as it was: {unfit}"
            continue
        if read != old:
            config = config.with_thing(sort, thing.id, replace(thing, **{parameter: read}))
            taken[old.path] = None
    news: list[LogEntry] = [(messages.AUTHORITIES_TAKEN, {"file": path}) for path in taken]
    news += [(messages.CERTIFICATE_FAULT, {"file": path, "reason": why}) for path, why in faults.items()]
    return config, faults, news


def _have_authorities_changed(context: CommandContext) -> bool:
    """Whether a file of CA certificates holds something else than what was read of it."""
    had = {known.path: known.pem for *_, known in _authorities_in(context.config)}
    if not had:
        return False
    found = context.lookups.find(Digests(tuple(had), MOST_CA_OCTETS + 1))
    return any(found[path] != digest(pem.encode()) for path, pem in had.items())


def _check(context: CommandContext, arguments: Arguments) -> Outcome:
    store = certificate_store_of(context.config)
    if _needed(context.config):
        look = context.lookups.find(LookAt(context.config.variables["tlsdir"]))
        if store is None or store.is_outdated(look):
            return _reload(context, arguments)
    if not _have_authorities_changed(context):
        return Reply("nothing has changed")
    config, distrusted, news = _with_authorities(context, context.config)
    if config is context.config:
        raise CommandRefused("; ".join(distrusted.values()))
    return _taken_up("; note: ".join(["CA certificates are read anew", *distrusted.values()]), config, news)


def _list(context: CommandContext, _arguments: Arguments) -> Outcome:
    store = certificate_store_of(context.config)
    if store is None:
        text = "nothing was read of tlsdir: nobody uses TLS; `tls reload` reads it"
        return Reply(text, data=[], lines=[text])
    known = [_row(context.config, store, one) for one in store.certificates.values()]
    faulty = [
        {"name": name, "file": _file(store, name), "trouble": reason}
        for name, reason in store.faults.items()
        if name not in store.certificates
    ]
    rows = [*known, *faulty]
    lines = lines_of(
        [{**row, **{key: " ".join(row.get(key, ())) for key in ("names", "vservs", "backends")}} for row in rows]
    )
    return Reply(count_of(len(known), "certificate"), data=rows, lines=lines)


def _row(config: Config, store: CertificateStore, one: Certificate) -> dict[str, Any]:
    backends = config.things.get("backend", {})
    return {
        "name": one.name,
        "names": list(one.names),
        "key": one.key_type,
        "days": int((one.not_after - time.time()) // _DAY),
        "until": _date(one),
        "file": _file(store, one.name),
        "vservs": [one_in_tls.id for one_in_tls in servers_in_tls(config) if one_in_tls.certificate in ("", one.name)],
        "backends": [ident for ident, backend in backends.items() if one.name in backend.needed_certificates],
        "serial": f"{one.serial:x}",
        "trouble": store.faults.get(one.name, ""),
    }


def _file(store: CertificateStore, name: str) -> str:
    return f"{store.directory.rstrip('/')}/{name}.pem"


def _date(certificate: Certificate) -> str:
    return datetime.fromtimestamp(certificate.not_after, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tls_commands() -> Sequence[ControlCommand]:
    """The rows."""
    return (
        ControlCommand(
            "tls list",
            _list,
            "Lists the certificates that were read of tlsdir.\nFor each: the host names in it, the kind of key, the "
            "days that it is still valid, the virtual servers that may show it, the backends that it is shown to, and "
            "what is wrong with its file now, if anything is.",
            source=BESIDE,
        ),
        ControlCommand(
            "tls reload",
            _reload,
            "Reads tlsdir anew, and every file of CA certificates (clientca, tlsca).\nNew sessions see what is new, "
            "sessions that are there go on. A file that is faulty is reported, and what was read of it before stays in "
            "use; so does one that is gone but needed.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            CHECK,
            _check,
            "Does what `tls reload` does if a file in tlsdir, or one of CA certificates, has changed.\nThe program "
            "says this to itself every tlswatch.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
    )


def described(config: Config) -> list[dict[str, Any]]:
    """What a watcher may know of the certificates in use. No secrets."""
    store = certificate_store_of(config)
    return [
        {"name": name, "names": list(one.names), "key_type": one.key_type, "not_after": one.not_after}
        for name, one in (store.certificates.items() if store is not None else ())
    ]
