"""The variables of programs that speak TLS."""

import time

from popular.tls.ciphers import is_usable, suites_of
from popular.tls.contexts import VERSIONS, default_certificates
from popular.tls.users import certificate_store_of, servers_in_tls
from supervisor.control.commands.variables import BESIDE
from supervisor.control.language.context import CommandContext, Variable
from supervisor.control.language.kinds import Choice, Dir, String, Time
from supervisor.control.language.lookups import Unfit
from supervisor.control.words import CommandRefused

_HOUR = 3600
_NEW_SESSIONS = "new sessions"


def _are_ciphers(context: CommandContext, value: str) -> str | None:
    try:
        suites = suites_of(value)
    except Unfit as unfit:
        raise CommandRefused(str(unfit)) from None
    store, now = certificate_store_of(context.config), time.time()
    if store is None:
        return None
    servers = servers_in_tls(context.config)
    useless = [one.id for one in servers if not is_usable(suites, default_certificates(one, store, now))]
    return f"none fits a key of {', '.join(useless)}: clients of TLS 1.2 are not served there" if useless else None


TLS_VARIABLES = (
    Variable(
        "tlsdir",
        Dir(),
        "Directory of keys and certificates for TLS.",
        default="/etc/popular/tls",
        when=_NEW_SESSIONS,
    ),
    Variable(
        "tlsciphers",
        String(),
        "Cipher suites of TLS 1.2, in the words of `openssl ciphers`: with ECDHE, a certificate, and an AEAD such as "
        "AESGCM. Those of TLS 1.3 are all good.",
        default="ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20",
        when=_NEW_SESSIONS,
        check=_are_ciphers,
        source=BESIDE,
    ),
    Variable(
        "tlsminversion",
        Choice(*VERSIONS),
        "The oldest version of TLS that clients may speak.",
        default="1.2",
        when=_NEW_SESSIONS,
        source=BESIDE,
    ),
    Variable(
        "tlswatch",
        Time(0, _HOUR),
        "How often the files in tlsdir, and those of clientca and tlsca, are looked at; what has changed is taken up "
        "(`tls check`). 0: never.",
        default=10,
        source=BESIDE,
    ),
)
