"""Tokens of an identity provider, judged: by what is said in them, and by a signature. Pure, but for where keys are.

The cryptography, and the judging of a JWT's times, issuer and audience, is PyJWT's. What an answer to introspection
says is judged here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from popular.pdm.contract import ModuleFailed
from popular.pdm.jwtkeys import KeySet

LONGEST_TOKEN = 1 << 14
"""Octets; those of large sites have 2 to 8 thousand."""
_LONGEST_NAME = 255

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those that sign by a private key. With the others (HS256 …) whoever has the public key could sign."""
_USUAL = ("RS256", "ES256")

_FAULTS = (ValueError, TypeError, ArithmeticError, RecursionError, LookupError, AttributeError)
"""What a token that means harm may have a decoder raise, beside its own errors."""


_FAULTS_TOLD = {
    "ExpiredSignatureError": "expired",
    "ImmatureSignatureError": "not yet valid",
    "InvalidAudienceError": "for another audience",
    "InvalidSignatureError": "not signed by the issuer's key",
    "MissingRequiredClaimError": "without exp, iss or aud",
}
"""What PyJWT finds, in words as those of `Wanted.check`."""


class NotOurs(Exception):
    """Another provider's token, or none at all: who shows it is not known here."""


class BadToken(Exception):
    """It does not count here; the text says why (the token is …), and quotes nothing of it."""


def algorithms_in(text: str) -> tuple[str, ...]:
    """The algorithms in `algorithms A,B`; the usual ones for "". Raises ModuleFailed."""
    chosen = tuple(text.split(",")) if text else _USUAL
    for name in chosen:
        if name not in ALGORITHMS:
            raise ModuleFailed(f"oauth2: algorithms '{name}': allowed are {', '.join(ALGORITHMS)}")
    return chosen


@dataclass(frozen=True)
class Wanted:
    """What must be said of a token."""

    userclaim: str
    issuer: str = ""
    audience: str = ""
    scopes: frozenset[str] = frozenset()
    leeway: float = 0.0

    def check(self, claims: Mapping[str, Any], now: float) -> None:
        """Times, issuer and audience of an answer. Raises BadToken."""
        if _seconds(claims, "exp", now) + self.leeway <= now:
            raise BadToken("expired")
        if _seconds(claims, "nbf", now) - self.leeway > now:
            raise BadToken("not yet valid")
        if self.issuer and claims.get("iss") != self.issuer:
            raise BadToken("another issuer's")
        if self.audience and self.audience not in _words(claims.get("aud"), split=False):
            raise BadToken("for another audience")

    def user_of(self, claims: Mapping[str, Any]) -> str:
        """Whose it is, if its scopes suffice. Raises BadToken."""
        has = _words(claims.get("scope", claims.get("scp")), split=True)
        if not self.scopes <= has:
            raise BadToken("not for this scope")
        user = claims.get(self.userclaim)
        if not isinstance(user, str) or not 0 < len(user) <= _LONGEST_NAME or not user.isprintable():
            raise BadToken("without a user")
        if self.userclaim == "email" and claims.get("email_verified", True) is not True:
            raise BadToken("of an address that is not verified")
        return user

    def seconds_left(self, claims: Mapping[str, Any], now: float) -> float | None:
        """For how long it counts; None where that is not said."""
        return max(0.0, _seconds(claims, "exp", now) - now) if claims.get("exp") is not None else None


def _seconds(claims: Mapping[str, Any], name: str, now: float) -> float:
    """A time, seconds since 1970; where there is none, one that does not matter. Raises BadToken."""
    value = claims.get(name)
    if value is None:
        return now if name == "nbf" else now + 1e9
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise BadToken(f"faulty: {name} is no time")
    return float(value)


def _words(value: object, *, split: bool) -> frozenset[str]:
    """A text, or a list of texts."""
    if isinstance(value, str):
        return frozenset(value.split() if split else [value])
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()


async def signed_claims(
    library: ModuleType, token: str, *, keys: KeySet, algorithms: Sequence[str], wanted: Wanted
) -> Mapping[str, Any]:
    """What a JWT says that is signed by one of the keys, is in force, and for us. Raises NotOurs, BadToken, and
    ModuleFailed where the keys are not to be had.
    """
    try:
        header = library.get_unverified_header(token)
        unverified = library.decode(token, options={"verify_signature": False})
        algorithm, kid, issuer = header.get("alg"), header.get("kid"), unverified.get("iss")
    except (library.PyJWTError, *_FAULTS):
        raise NotOurs from None
    if issuer != wanted.issuer:
        raise NotOurs
    if algorithm not in algorithms or not isinstance(kid, (str, type(None))):
        raise BadToken("signed by what is not allowed")
    key = await keys.find(kid, algorithm)
    if key is None:
        raise BadToken("signed by a key that is not known")
    try:
        claims: Mapping[str, Any] = library.decode(
            token,
            library.PyJWK.from_dict(key, algorithm),
            algorithms=[algorithm],
            issuer=wanted.issuer,
            audience=wanted.audience,
            leeway=wanted.leeway,
            options={"require": ["exp", "iss", "aud"]},
        )
    except (library.PyJWTError, *_FAULTS) as error:
        kind = type(error).__name__
        raise BadToken(_FAULTS_TOLD.get(kind, f"faulty ({kind})")) from None
    return claims
