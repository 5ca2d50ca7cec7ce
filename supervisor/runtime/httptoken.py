"""The token by which a web client shows that it may see names in full: a file with one line, read once at the start.

Only the token's digest is kept: it is in no process's memory afterwards, and comparing two digests tells nothing by the
time that it takes.
"""

import hashlib
import hmac
import os
import re
import stat
from pathlib import Path

from supervisor.runtime.rundir import CannotStart

SHORTEST, LONGEST = 16, 256
"""Characters."""
_BEARER = "bearer "
_TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{{SHORTEST},{LONGEST}}}")


def read_digest(path: Path) -> bytes:
    """The digest of the token in the file. Raises CannotStart, with a text that says what to do."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise CannotStart(f"metrics token {path}: this is no file")
            if mode & stat.S_IRWXO:
                raise CannotStart(f"metrics token {path}: everybody may read or write it; chmod o= {path}")
            text = file.read(LONGEST + 2).decode("ascii", "replace")
    except OSError as error:
        raise CannotStart(f"metrics token {path}: {error.strerror or error}") from None
    token = text.removesuffix("\n")
    if not _TOKEN.fullmatch(token):
        raise CannotStart(
            f"metrics token {path}: wanted is one line of {SHORTEST} to {LONGEST} letters, digits and ._~+/=- "
            "(openssl rand -hex 16 makes one)"
        )
    return _digest(token)


def is_token(authorization: str, digest: bytes) -> bool:
    """Whether a header field `Authorization` holds the token with this digest, as RFC 6750 (Bearer) writes it."""
    scheme, token = authorization[: len(_BEARER)], authorization[len(_BEARER) :]
    return scheme.lower() == _BEARER and hmac.compare_digest(_digest(token.strip()), digest)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
