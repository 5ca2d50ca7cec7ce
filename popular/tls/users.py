"""What of a config uses TLS: the servers that clients speak TLS with, and backends that are shown a certificate.

The config holds what was read of `tlsdir`, under `things["tls"]` by directory, once something needed it; there is never
more than the one of `tlsdir`.
"""

from collections.abc import Collection, Iterator
from typing import Any, Protocol, Self

from popular.tls.authorities import Authorities
from popular.tls.directory import CertificateStore
from supervisor.config import Config

SORT = "tls"

OF_CLIENTS = "clientca"
CA_PARAMETERS = {"vserv": OF_CLIENTS, "server": OF_CLIENTS, "backend": "tlsca"}
"""Sorts of things that use TLS, and their parameter that names a file of CA certificates."""
_SERVERS = ("vserv", "server")


class CertificateUser(Protocol):
    """A thing that may need certificates of `tlsdir`."""

    @property
    def id(self) -> str: ...

    @property
    def needed_certificates(self) -> tuple[str, ...]:
        """The names of their files, without `.pem`."""

    def without_certificates(self) -> Self:
        """What it would be if it needed none."""


class TlsServer(CertificateUser, Protocol):
    """One that clients may speak TLS with."""

    @property
    def certificate(self) -> str:
        """The name of the one to show (the parameter `tls`), or "" for whichever fits."""

    @property
    def clientcert(self) -> str: ...

    @property
    def clientca(self) -> Authorities: ...


def certificate_store_of(config: Config) -> CertificateStore | None:
    """What was read of `tlsdir`, if it was."""
    found: CertificateStore | None = config.things[SORT].get(config.variables["tlsdir"])
    return found


def servers_in_tls(config: Config) -> list[TlsServer]:
    """The virtual servers, or pserv's server, that need a certificate."""
    things = [thing for sort in _SERVERS for thing in config.things.get(sort, {}).values()]
    return [thing for thing in things if thing.needed_certificates]


def authorities_in(config: Config) -> Iterator[tuple[str, str, Any, Authorities]]:
    """Every use of a file of CA certificates: sort, parameter, thing, and what was read."""
    for sort, parameter in CA_PARAMETERS.items():
        for thing in config.things.get(sort, {}).values():
            if getattr(thing, parameter).path:
                yield sort, parameter, thing, getattr(thing, parameter)


def needed_certificates(config: Config) -> Iterator[tuple[str, str]]:
    """Each certificate that something needs: who, in words, and its name."""
    for sort in CA_PARAMETERS:
        for thing in config.things.get(sort, {}).values():
            whom = sort if thing.id == sort else f"{sort} {thing.id}"
            yield from ((whom, name) for name in thing.needed_certificates)


def without_certificates(config: Config, names: Collection[str]) -> Config:
    """The config as it would be if nothing needed these."""
    for sort in CA_PARAMETERS:
        for thing in config.things.get(sort, {}).values():
            if any(name in names for name in thing.needed_certificates):
                config = config.with_thing(sort, thing.id, thing.without_certificates())
    return config


def described(config: Config) -> list[dict[str, Any]]:
    """What a watcher may know of the certificates in use. No secrets."""
    store = certificate_store_of(config)
    return [
        {"name": name, "names": list(one.names), "key_type": one.key_type, "not_after": one.not_after}
        for name, one in (store.certificates.items() if store is not None else ())
    ]
