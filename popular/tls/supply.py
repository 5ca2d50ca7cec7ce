"""What a new config needs of `tlsdir`; and what people are told of that, and of its CA certificates, in notes and log.

Nothing is read, and no process is started for it, while nobody needs TLS (see `users.py` for who does).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from popular import messages
from popular.tls.authorities import Authorities, troubles_of
from popular.tls.certificate import Certificate, moment
from popular.tls.directory import CertificateStore, ReadAll, merged
from popular.tls.users import (
    OF_CLIENTS,
    SORT,
    authorities_in,
    certificate_store_of,
    needed_certificates,
    without_certificates,
)
from supervisor.config import Config
from supervisor.control.language.context import CommandContext, Incomplete
from supervisor.control.language.lookups import Unfit
from supervisor.control.language.outcome import Change, LogEntry, Replacement
from supervisor.control.language.replytext import noted
from supervisor.runtime.together import together

_MOST_NOTES = 3


def complete_change(context: CommandContext, change: Change) -> Change:
    """Reads `tlsdir` for a config that needs more of it than was read. See Program.complete_change."""
    config = change.config
    if config.things[SORT].keys() - {config.variables["tlsdir"]}:
        config = config.without_things(SORT)
    known = context.config.things[SORT].get(config.variables["tlsdir"])
    if known is not None and certificate_store_of(config) is None:  # a whole config, which begins without
        config = with_store(config, known)
        # A start with this very configuration would find the file as it is now.
        faulty = sorted(known.faults.keys() & needed_names(config))
        notes = [f"{name}.pem, of which an earlier reading is in use: {known.faults[name]}" for name in faulty]
        change = replace(change, text=noted(change.text, *notes))
    before, needed = certificate_store_of(config), needed_names(config)
    if needed and (before is None or not needed <= before.certificates.keys()):
        try:
            after = merged(before, context.lookups.find(ReadAll(config.variables["tlsdir"])), needed)
        except Unfit as unfit:
            rest = without_certificates(config, needed)
            raise Incomplete(f"TLS needs a certificate, and tlsdir cannot be read: {unfit}", rest) from None
        config = with_store(config, after)
        change = replace(
            change, text=with_notes(change.text, after), entries=[*change.entries, *news_of(before, after)]
        )
    _check_users(config)
    if not isinstance(change, Replacement):  # it came here as a draft, and its text has the notes
        change = _with_troubles(change, context.config, config)
    return replace(change, config=config)


def _with_troubles(change: Change, running: Config, config: Config) -> Change:
    """The change with what is wrong with CA certificates that are new in it."""
    known = {(sort, thing.id): value for sort, _, thing, value in authorities_in(running)}
    new: dict[Authorities, set[str]] = {}
    for sort, parameter, thing, value in authorities_in(config):
        if known.get((sort, thing.id)) != value:
            new.setdefault(value, set()).add(parameter)
    found = [
        (one.path, why)
        for one in sorted(new, key=str)
        for why in troubles_of(one, time.time(), of_clients=OF_CLIENTS in new[one])
    ]
    news: list[LogEntry] = [(messages.CERTIFICATE_FAULT, {"file": path, "reason": why}) for path, why in found]
    text = _noted(change.text, [f"{path}: {why}" for path, why in found])
    return replace(change, text=text, entries=[*change.entries, *news]) if found else change


def needed_names(config: Config) -> set[str]:
    """The names of the certificates that something needs."""
    return {name for _whom, name in needed_certificates(config)}


def with_store(config: Config, store: CertificateStore) -> Config:
    """The config with what was read of `tlsdir`, and nothing else that was read."""
    return config.without_things(SORT).with_thing(SORT, store.directory, store)


def _check_users(config: Config) -> None:
    """Raises Incomplete if somebody would have no certificate to show."""
    store = certificate_store_of(config)
    if store is None or needed_names(config) <= store.certificates.keys():
        return
    lacking = [(whom, name) for whom, name in needed_certificates(config) if name not in store.certificates]
    faults = [
        f"{whom}: TLS needs the certificate {name}.pem in {store.directory}: "
        f"{store.faults.get(name, f'{name}.pem is not there')}"
        for whom, name in lacking
    ]
    raise Incomplete(together(faults), without_certificates(config, {name for _whom, name in lacking}))


def with_notes(text: str, store: CertificateStore, others: Sequence[str] = ()) -> str:
    """The text with what is wrong: with these other files, and with what the store holds."""
    faults = [*others, *(f"{name}.pem: {reason}" for name, reason in store.troubles.items())]
    return _noted(text, faults, " (tls list)")


def _noted(text: str, notes: Sequence[str], others: str = "") -> str:
    """The text with the first of the notes, and how many others there are."""
    more = [f"{len(notes) - _MOST_NOTES} more{others}"] if len(notes) > _MOST_NOTES else []
    return noted(text, *notes[:_MOST_NOTES], *more)


def news_of(before: CertificateStore | None, after: CertificateStore) -> Iterator[LogEntry]:
    """What is new, for the log."""
    had = before.certificates if before is not None else {}
    complained = before.troubles if before is not None else {}
    for name, one in after.certificates.items():
        if name not in had or had[name].fingerprint != one.fingerprint:
            fields = {"certificate": name, "names": " ".join(one.names), "key": one.key_type, "until": expiry_of(one)}
            yield messages.CERTIFICATE_TAKEN, {**fields, "serial": f"{one.serial:x}"}
    for name in had.keys() - after.certificates.keys():
        yield messages.CERTIFICATE_GONE, {"certificate": name}
    for name, reason in after.troubles.items():
        if complained.get(name) != reason:
            yield messages.CERTIFICATE_FAULT, {"file": f"{after.directory}/{name}.pem", "reason": reason}


def expiry_of(certificate: Certificate) -> str:
    """When it ceases to be valid, as people and the log read it."""
    return moment(certificate.not_after)
