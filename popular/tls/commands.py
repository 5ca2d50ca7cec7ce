"""The commands about the certificates of virtual servers and backends."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from popular import messages
from popular.tls.authorities import MOST_CA_OCTETS, CaFile
from popular.tls.certificate import Certificate
from popular.tls.directory import CertificateStore, Digests, LookAt, ReadAll, digest, merged
from popular.tls.supply import expiry_of, needed_names, news_of, with_notes, with_store
from popular.tls.users import authorities_in, certificate_store_of, servers_in_tls
from supervisor.config import Config
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import Arguments, CommandContext, ControlCommand
from supervisor.control.language.lookups import Unfit
from supervisor.control.language.outcome import Change, LogEntry, Outcome, Reply
from supervisor.control.language.replytext import lines_of
from supervisor.control.words import CommandRefused
from supervisor.program import PeriodicCommand
from supervisor.runtime.plural import count_of

CHECK = "tls check"
PERIODIC = PeriodicCommand(CHECK, "tlswatch")

_DAY = 86_400


def _reload(context: CommandContext, _arguments: Arguments) -> Outcome:
    config, distrusted, news = _with_authorities(context, context.config)
    before = certificate_store_of(config)
    found = context.lookups.find(ReadAll(config.variables["tlsdir"]))
    if before is not None and found.read_at < before.read_at:  # another command was faster
        after = before
    else:
        after = merged(before, found, needed_names(config))
    text = with_notes(count_of(len(after.certificates), "certificate"), after, list(distrusted.values()))
    if after == before and config is context.config:
        return Reply(f"{text}; nothing has changed")
    return _taken_up(text, with_store(config, after), [*news_of(before, after), *news])


def _taken_up(text: str, config: Config, news: Sequence[LogEntry]) -> Change:
    lines = [" ".join([message.name, *map(str, fields.values())]) for message, fields in news]
    return Change(text, lines=lines, data=lines, config=config, entries=news)


def _with_authorities(context: CommandContext, config: Config) -> tuple[Config, dict[str, str], list[LogEntry]]:
    """The config with each file of CA certificates read anew; why one stays as it was, by path; both for the log."""
    faults: dict[str, str] = {}
    taken: dict[str, None] = {}
    for sort, parameter, thing, old in authorities_in(config):
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
    had = {known.path: known.pem for *_, known in authorities_in(context.config)}
    if not had:
        return False
    found = context.lookups.find(Digests(tuple(had), MOST_CA_OCTETS + 1))
    return any(found[path] != digest(pem.encode()) for path, pem in had.items())


def _reload_if_changed(context: CommandContext, arguments: Arguments) -> Outcome:
    store = certificate_store_of(context.config)
    if needed_names(context.config):
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
    troubles = store.troubles
    known = [
        {**_row(context.config, store, one), "trouble": troubles.get(one.name, "")}
        for one in store.certificates.values()
    ]
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
        "until": expiry_of(one),
        "file": _file(store, one.name),
        "vservs": [one_in_tls.id for one_in_tls in servers_in_tls(config) if one_in_tls.certificate in ("", one.name)],
        "backends": [ident for ident, backend in backends.items() if one.name in backend.needed_certificates],
        "serial": f"{one.serial:x}",
    }


def _file(store: CertificateStore, name: str) -> str:
    return f"{store.directory.rstrip('/')}/{name}.pem"


def tls_commands() -> Sequence[ControlCommand]:
    """The rows."""
    return (
        ControlCommand(
            "tls list",
            _list,
            "Lists the certificates that were read of tlsdir.\nFor each: the host names in it, the kind of key, the "
            "days that it is still valid, the virtual servers that may show it, the backends that it is shown to, and "
            "what is wrong with it or with its file now, if anything is.",
            source=BESIDE,
        ),
        ControlCommand(
            "tls reload",
            _reload,
            "Reads tlsdir anew, and every file of CA certificates (clientca, tlsca).\nNew sessions see what is new, "
            "sessions that are there go on. A file that is faulty is reported, and what was read of it before stays in "
            "use; so does one that is gone but needed. A certificate that is not valid, yet or any more, is reported "
            "too, and replaces none that is.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
        ControlCommand(
            CHECK,
            _reload_if_changed,
            "Does what `tls reload` does if a file in tlsdir, or one of CA certificates, has changed.\nThe program "
            "says this to itself every tlswatch.",
            changes=True,
            source=BESIDE,
            one_off=True,
        ),
    )
