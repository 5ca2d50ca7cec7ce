"""Keys of SCRAM-SHA-256 as they are stored instead of a password, by Dovecot and by PostgreSQL.

    {SCRAM-SHA-256}ITERATIONS,SALT,STOREDKEY,SERVERKEY
    SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY

Salt and keys are in base64. The second has colons, so a file of `passwd` cannot hold it. It is that of directories too
(authPassword, RFC 5803), with blanks around the dollars and the scheme in any case.
"""

import binascii
import hmac
import re
from collections.abc import Iterable

from popular.protocol.scram import (
    FEWEST_ITERATIONS,
    KEY_OCTETS,
    LONGEST_SALT,
    MOST_ITERATIONS,
    SCRAM,
    SHORTEST_SALT,
    ScramKeys,
    keys_of,
)

POSTGRESQL = f"{SCRAM}$"
"""How the second form begins."""
FORM = f"{{{SCRAM}}}"
"""How the form of both begins, after which the cost stands."""

_PARTS = re.compile(r"([1-9]\d{0,8})[,:]([A-Za-z0-9+/=]+)[,$]([A-Za-z0-9+/=]+)[,:]([A-Za-z0-9+/=]+)")
_SEPARATORS = {",,,", ":$:"}
_IN_DIRECTORIES = re.compile(rf"(?:{SCRAM} *\$|\{{{SCRAM}\}})(.*)", re.IGNORECASE | re.DOTALL)
_LONGEST = 512
"""Characters of a value in a directory, which its user may have written himself: keys have less than half as many."""


class BadKeys(ValueError):
    """These are no keys. The text is for people and quotes nothing."""


def read(text: str) -> ScramKeys:
    """The keys that stand after `{SCRAM-SHA-256}`, or `SCRAM-SHA-256$`. Raises BadKeys."""
    match = _PARTS.fullmatch(text)
    if not match or "".join(text[match.end(number)] for number in (1, 2, 3)) not in _SEPARATORS:
        raise BadKeys(f"{FORM} wants ITERATIONS,SALT,STOREDKEY,SERVERKEY, in base64 after the first comma")
    try:
        salt, stored_key, server_key = (binascii.a2b_base64(part, strict_mode=True) for part in match.groups()[1:])
    except binascii.Error:
        raise BadKeys(f"what stands after {FORM} is not base64") from None
    keys = ScramKeys(salt, int(match[1]), stored_key=stored_key, server_key=server_key)
    if not keys.are_sound:
        raise BadKeys(
            f"{FORM} has {FEWEST_ITERATIONS} to {MOST_ITERATIONS} iterations, a salt of {SHORTEST_SALT} to "
            f"{LONGEST_SALT} octets, and keys of {KEY_OCTETS}"
        )
    return keys


def among(values: Iterable[bytes]) -> list[str]:
    """Those values of a directory's attribute that are keys, each after `{SCRAM-SHA-256}`; passwords stored in other
    ways are passed over. Raises BadKeys if none is left, and one of them says of itself that it is keys.
    """
    found, bad = list[str](), None
    for value in values:
        match = _IN_DIRECTORIES.fullmatch(value.decode(errors="replace"))
        if match is None:
            continue
        try:
            text = _without_blanks(match[1])
            read(text)
        except BadKeys as error:
            bad = error
        else:
            found.append(FORM + text)
    if bad is not None and not found:
        raise bad
    return found


def _without_blanks(text: str) -> str:
    """Without those that may stand around the dollars. Raises BadKeys, before many of them cost anything."""
    if len(text) > _LONGEST:
        raise BadKeys(f"what stands after {FORM} is too long; allowed: {_LONGEST} characters")
    return re.sub(r" *\$ *", "$", text.strip(" "))


def form_of(keys: ScramKeys) -> str:
    """Its form with its cost: to the client, and to who computes, two of one form look alike."""
    return f"{FORM}{keys.iterations}/{len(keys.salt)}"


def fits(keys: ScramKeys, password: bytes) -> bool:
    """Whether these are the keys of the password. Takes the time of the iterations."""
    made = keys_of(password, keys.salt, keys.iterations)
    return made is not None and hmac.compare_digest(made.stored_key, keys.stored_key)
