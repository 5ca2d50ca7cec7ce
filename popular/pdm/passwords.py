"""Stored passwords: which forms there are, and whether a password fits one.

Two tables. `CRYPT_FORMS` are hashes that say themselves what they are: those of crypt(3) (man crypt(5)) and of argon2.
`SCHEMES` are Dovecot's `{SCHEME}` prefixes; `.hex`, `.b64` or `.base64` after the name may say how the rest is
written. Beside them there are the keys of SCRAM as PostgreSQL writes them (`scramstored.py`). A stored text that begins
with `!` or `*` is locked: no password fits.

`form_of(stored)` is for the moment of loading: it raises `UnknownForm` for whatever `verify` could not verify, so that
a bad line is found when the file is read, and not when its user logs in. `verify` costs what the hash costs (a tenth of
a second is usual), gives other threads the processor meanwhile, and compares in constant time. Neither a stored text
nor a password ever gets into an exception.
"""

import base64
import binascii
import ctypes
import functools
import hashlib
import hmac
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from argon2 import exceptions as argon2_errors
from argon2 import low_level as argon2

from popular.pdm import scramstored
from popular.protocol.scram import SCRAM, USUAL_SALT, ScramKeys, keys_of

LONGEST_PASSWORD = 511
"""Octets that crypt(3) takes (CRYPT_MAX_PASSPHRASE_SIZE less the NUL). Nothing longer fits anything."""

LOCKED = "locked"
"""The form of a stored text that no password fits."""

_LIBCRYPT = ("libcrypt.so.1", "libcrypt.so.2")


class UnknownForm(Exception):
    """No password can be verified against this. The text is for people and quotes nothing."""


class CannotVerify(Exception):
    """The hash has a known form, but the library that knows it gave up. The text quotes nothing."""


def form_of(stored: str) -> str:
    """What kind of stored password this is, with its cost: "$6$rounds=5000", "$2y$12", "{SSHA}", or LOCKED.

    Two of one form take the same time. Raises UnknownForm.
    """
    if stored.startswith(("!", "*", "{", scramstored.POSTGRESQL)):
        return _understood(stored).form
    return _crypt_form(stored.encode(errors="replace"))[0]


def verify(stored: str, password: bytes) -> bool:
    """Whether the password fits. Raises UnknownForm (as form_of does), CannotVerify."""
    if b"\0" in password or len(password) > LONGEST_PASSWORD:
        return False  # crypt(3) would stop reading at the NUL, and take "secret\0anything" for "secret"
    understood = _understood(stored)
    return understood.fits(understood.octets, password)


def in_clear(stored: str) -> bytes | None:
    """The password itself, if it is stored so; None for a hash, or one that is locked. Raises UnknownForm."""
    understood = _understood(stored)
    return understood.octets if understood.form in IN_CLEAR else None


def scram_keys(stored: str, salt: bytes) -> ScramKeys | None:
    """Those by which a client may prove that it has the password; with this salt, where they are yet to be made of the
    password itself, which takes time. None where all that is stored is a hash of another kind. Raises UnknownForm.
    """
    understood = _understood(stored)
    if understood.form.startswith(scramstored.FORM):
        return _scram(understood.octets)
    return keys_of(understood.octets, salt[:USUAL_SALT]) if understood.form in IN_CLEAR else None


def answers_scram(form: str) -> bool:
    """Whether a client may prove by SCRAM that it has a password that is stored in this form."""
    return form in IN_CLEAR or form.startswith(scramstored.FORM)


Fits: TypeAlias = Callable[[bytes, bytes], bool]
"""Stored octets (behind the scheme, decoded), password → whether it fits."""


class _Understood(NamedTuple):
    form: str
    fits: Fits
    octets: bytes

    def __repr__(self) -> str:
        return f"_Understood({self.form})"


def _understood(stored: str) -> _Understood:
    if stored.startswith(("!", "*")):
        return _Understood(LOCKED, lambda _octets, _password: False, b"")
    if stored.startswith("{"):
        return _understood_scheme(stored)
    if stored.startswith(scramstored.POSTGRESQL):
        return _understood_scram(stored.removeprefix(scramstored.POSTGRESQL).encode(errors="replace"))
    return _understood_crypt(stored.encode(errors="replace"))


# --- hashes that name themselves ------------------------------------------------------------------------------------


def _fits_crypt(stored: bytes, password: bytes) -> bool:
    return hmac.compare_digest(_crypt(password, stored), stored)


def _fits_argon2(stored: bytes, password: bytes) -> bool:
    kind = {b"i": argon2.Type.I, b"d": argon2.Type.D, b"id": argon2.Type.ID}[stored.split(b"$")[1][len(b"argon2") :]]
    try:
        return argon2.verify_secret(stored, password, kind)
    except argon2_errors.VerifyMismatchError:
        return False
    except argon2_errors.Argon2Error:
        raise CannotVerify("the argon2 library refused the hash") from None


@dataclass(frozen=True, slots=True)
class CryptForm:
    """A kind of hash. `shape` matches all of it, its only group is the part that says how much work it is."""

    name: str
    shape: re.Pattern[bytes]
    fits: Fits = _fits_crypt


def _shape(cost: str, rest: str) -> re.Pattern[bytes]:
    return re.compile(f"({cost}){rest}".replace("@", "[./0-9A-Za-z]").encode())


def _argon2_shape(kind: str) -> re.Pattern[bytes]:
    octets = r"[+/0-9A-Za-z]+"  # base64, not crypt's alphabet
    return _shape(rf"\${kind}\$(?:v=\d+\$)?m=\d+,t=\d+,p=\d+", rf"\${octets}\${octets}")


CRYPT_FORMS = {
    form.name: form
    for form in (
        CryptForm("yescrypt", _shape(r"\$y\$@+", r"\$@{1,86}\$@{43}")),
        CryptForm("gost-yescrypt", _shape(r"\$gy\$@+", r"\$@{1,86}\$@{43}")),
        CryptForm("scrypt", _shape(r"\$7\$@{11}", r"@{1,86}\$@{43}")),
        CryptForm("bcrypt", _shape(r"\$2[abxy]\$(?:0[4-9]|[12]\d|3[01])", r"\$@{53}")),
        CryptForm("sha512crypt", _shape(r"\$6\$(?:rounds=[1-9]\d{3,8}\$)?", r"[^$:*!;\\\s]{1,16}\$@{86}")),
        CryptForm("sha256crypt", _shape(r"\$5\$(?:rounds=[1-9]\d{3,8}\$)?", r"[^$:*!;\\\s]{1,16}\$@{43}")),
        CryptForm("md5crypt", _shape(r"\$1\$", r"[^$:*!;\\\s]{1,8}\$@{22}")),
        CryptForm("bsdicrypt", _shape(r"_@{4}", r"@{15}")),
        CryptForm("descrypt", _shape(r"", r"@{13}")),
        *(CryptForm(kind, _argon2_shape(kind), _fits_argon2) for kind in ("argon2i", "argon2d", "argon2id")),
    )
}

_FORMS = tuple(CRYPT_FORMS.values())
_ANY_FORM = re.compile(b"|".join(b"(%b)" % form.shape.pattern for form in _FORMS))
"""All shapes in one, two groups each: a file of a million hashes is looked at with one match for each."""


def _crypt_form(stored: bytes, names: Collection[str] = CRYPT_FORMS.keys()) -> tuple[str, Fits]:
    """What form_of says of a hash that names itself, and who verifies it. Raises UnknownForm."""
    match = _ANY_FORM.fullmatch(stored)
    if match:
        assert match.lastindex is not None, "one of the shapes matches"
        form = _FORMS[match.lastindex // 2]
        if form.name in names:
            if form.fits is _fits_crypt:
                _library()
            return match[match.lastindex + 1].decode() or form.name, form.fits
    raise UnknownForm(f"this is no hash of a known form: {', '.join(names)} would do")


def _understood_crypt(stored: bytes, names: Collection[str] = CRYPT_FORMS.keys()) -> _Understood:
    return _Understood(*_crypt_form(stored, names), stored)


@functools.cache
def _library() -> tuple[Callable[..., bytes | None], Callable[..., None]]:
    """crypt_ra and free. Raises UnknownForm where there is no libxcrypt."""
    for name in _LIBCRYPT:
        try:
            library = ctypes.CDLL(name)
            crypt_ra = library.crypt_ra
            free = ctypes.CDLL(None).free
        except (OSError, AttributeError):
            continue
        crypt_ra.restype = ctypes.c_char_p
        crypt_ra.argtypes = [ctypes.c_char_p, ctypes.c_char_p, *map(ctypes.POINTER, (ctypes.c_void_p, ctypes.c_int))]
        free.restype, free.argtypes = None, [ctypes.c_void_p]
        return crypt_ra, free
    raise UnknownForm(f"hashes of crypt(3) need libxcrypt, and {' or '.join(_LIBCRYPT)} with crypt_ra is not installed")


def _crypt(password: bytes, setting: bytes) -> bytes:
    """crypt(3), in a form that many threads may call at once. ctypes lets go of the interpreter's lock meanwhile."""
    crypt_ra, free = _library()
    workspace, size = ctypes.c_void_p(), ctypes.c_int()
    try:
        hashed = crypt_ra(password, setting, ctypes.byref(workspace), ctypes.byref(size))
        if hashed is None:
            raise CannotVerify("crypt(3) refused the hash")
        return hashed
    finally:
        free(workspace)


# --- Dovecot's {SCHEME} ---------------------------------------------------------------------------------------------

_PBKDF2 = re.compile(rb"\$1\$(?P<salt>[^$]+)\$(?P<rounds>[1-9]\d{0,8})\$(?P<key>[0-9a-f]{40})")
_SCHEME = re.compile(r"\{([A-Za-z0-9-]+)(?:\.(hex|b64|base64))?\}(.+)", re.IGNORECASE | re.DOTALL)


def _pbkdf2(octets: bytes) -> _Understood:
    match = _PBKDF2.fullmatch(octets)
    if not match:
        raise UnknownForm("{PBKDF2} wants $1$SALT$ROUNDS$KEY, with a key of 40 hexadecimal digits")
    salt, rounds, key = match["salt"], int(match["rounds"]), bytes.fromhex(match["key"].decode())

    def fits(_octets: bytes, password: bytes) -> bool:
        return hmac.compare_digest(hashlib.pbkdf2_hmac("sha1", password, salt, rounds, len(key)), key)

    return _Understood(f"{{PBKDF2}}{rounds}", fits, octets)


def _scram(octets: bytes) -> ScramKeys:
    try:
        return scramstored.read(octets.decode(errors="replace"))
    except scramstored.BadKeys as error:
        raise UnknownForm(str(error)) from None


def _understood_scram(octets: bytes) -> _Understood:
    keys = _scram(octets)
    return _Understood(scramstored.form_of(keys), lambda _octets, password: scramstored.fits(keys, password), octets)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A name in braces. After it stands one of the forms `crypt`, a `digest` of password and salt, or the text."""

    crypt: tuple[str, ...] = ()
    digest: str = ""
    salted: bool = False


SCHEMES = {
    "PLAIN": Scheme(),
    "CLEAR": Scheme(),
    "CLEARTEXT": Scheme(),
    "CRYPT": Scheme(crypt=tuple(CRYPT_FORMS)),
    "DES-CRYPT": Scheme(crypt=("descrypt",)),
    "MD5-CRYPT": Scheme(crypt=("md5crypt",)),
    "BLF-CRYPT": Scheme(crypt=("bcrypt",)),
    "SHA256-CRYPT": Scheme(crypt=("sha256crypt",)),
    "SHA512-CRYPT": Scheme(crypt=("sha512crypt",)),
    "ARGON2I": Scheme(crypt=("argon2i",)),
    "ARGON2ID": Scheme(crypt=("argon2id",)),
    "PBKDF2": Scheme(),
    SCRAM: Scheme(),
    "SHA": Scheme(digest="sha1"),
    "SHA1": Scheme(digest="sha1"),
    "SHA256": Scheme(digest="sha256"),
    "SHA512": Scheme(digest="sha512"),
    "SSHA": Scheme(digest="sha1", salted=True),
    "SSHA256": Scheme(digest="sha256", salted=True),
    "SSHA512": Scheme(digest="sha512", salted=True),
    "SMD5": Scheme(digest="md5", salted=True),
    "PLAIN-MD5": Scheme(digest="md5"),
    "LDAP-MD5": Scheme(digest="md5"),
}


IN_CLEAR = frozenset(f"{{{name}}}" for name in ("PLAIN", "CLEAR", "CLEARTEXT"))
"""Forms in which the password itself is stored."""


def _understood_scheme(stored: str) -> _Understood:
    match = _SCHEME.fullmatch(stored)
    name = match[1].upper() if match else ""
    if not match or name not in SCHEMES:
        raise UnknownForm(f"the scheme in braces cannot be verified: {', '.join(SCHEMES)} can")
    scheme = SCHEMES[name]
    octets = _decoded(name, scheme, (match[2] or "").lower(), text=match[3])
    if scheme.crypt:
        return _understood_crypt(octets, scheme.crypt)
    if name == "PBKDF2":
        return _pbkdf2(octets)
    if name == SCRAM:
        return _understood_scram(octets)
    return _Understood(
        f"{{{name}}}", _fits_digest(name, scheme, octets) if scheme.digest else hmac.compare_digest, octets
    )


def _decoded(name: str, scheme: Scheme, written: str, *, text: str) -> bytes:
    """What the text stands for. A digest is in base64, unless its length says hexadecimal (as in Dovecot)."""
    if not written and not scheme.digest:
        return text.encode(errors="surrogateescape")
    in_hex = written == "hex" or (
        not written and not scheme.salted and len(text) == 2 * hashlib.new(scheme.digest).digest_size
    )
    try:
        return binascii.unhexlify(text) if in_hex else base64.b64decode(text, validate=True)
    except ValueError:
        raise UnknownForm(f"what stands after {{{name}}} is not {'hexadecimal' if in_hex else 'base64'}") from None


def _fits_digest(name: str, scheme: Scheme, octets: bytes) -> Fits:
    algorithm = functools.partial(hashlib.new, scheme.digest, usedforsecurity=False)
    size = algorithm().digest_size
    if len(octets) < size or (len(octets) > size) != scheme.salted:
        raise UnknownForm(
            f"what stands after {{{name}}} is not {size} octets{' and a salt' if scheme.salted else ''} long"
        )

    def fits(stored: bytes, password: bytes) -> bool:
        return hmac.compare_digest(algorithm(password + stored[size:]).digest(), stored[:size])

    return fits
