"""How each server of a config speaks TLS: certificates by the names that clients ask for, as OpenSSL's contexts."""

import ssl
import time
from collections.abc import Mapping
from typing import Any

from popular.tls import choice
from popular.tls.contexts import ASKING, NOTHING_ASKED, VERSIONS, Clients, Contexts, TlsSettings
from popular.tls.directory import DEFAULT, CertificateStore
from popular.tls.users import TlsListener, certificate_store_of, listeners_in_tls
from supervisor.config import Config
from supervisor.control.words import CommandRefused


def tls_settings(config: Config, contexts: Contexts) -> dict[str, TlsSettings]:
    """By id, for each server that needs TLS. Raises CommandRefused if OpenSSL cannot be brought to it."""
    listeners = listeners_in_tls(config)
    if not listeners:
        return {}
    store = certificate_store_of(config)
    assert store is not None, "Program.complete sees to it"
    try:
        return {one.id: _settings_of(one, store, contexts, variables=config.variables) for one in listeners}
    except OSError as error:
        raise CommandRefused(f"TLS: {error.strerror or error}") from None
    finally:
        contexts.complete()


def _settings_of(
    listener: TlsListener, store: CertificateStore, contexts: Contexts, *, variables: Mapping[str, Any]
) -> TlsSettings:
    now = time.time()
    certificates = store.certificates
    asks = ASKING[listener.clientcert]
    clients = Clients(asks, listener.clientca.pem) if asks != ssl.CERT_NONE else NOTHING_ASKED
    if listener.tls:
        otherwise, named = contexts.get((certificates[listener.tls],), clients), {}
    else:
        answer = choice.beside(certificates[DEFAULT], certificates.values(), now)
        otherwise = contexts.get(answer, clients)
        table = choice.by_name(certificates.values(), now)
        named = {name: contexts.get(answer, clients) for name, answer in table.items()}
    return TlsSettings(named, otherwise, VERSIONS[variables["tlsminversion"]], asks=asks)
