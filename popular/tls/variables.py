"""The variables of programs that speak TLS."""

import ssl

from popular.tls.contexts import VERSIONS
from supervisor.control.context import CommandContext, Variable
from supervisor.control.kinds import Choice, Dir, String, Time, shown
from supervisor.control.variables import BESIDE
from supervisor.control.words import CommandRefused

_HOUR = 3600
_NEW_SESSIONS = "new sessions"


def _are_ciphers(_context: CommandContext, value: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(value)
    except ssl.SSLError:
        raise CommandRefused(
            f"no cipher is in {shown(value)}; allowed: what `openssl ciphers -tls1_2 LIST` lists"
        ) from None


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
        "Cipher suites of TLS 1.2, in the words of `openssl ciphers`. Those of TLS 1.3 are all good.",
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
