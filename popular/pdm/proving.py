"""Whether what a client has shown fits what is stored of a user: a password, an answer to a challenge, a certificate.

Whoever has stored passwords shares this: text files, databases, directories of hashes.
"""

from collections.abc import Iterable

from popular.pdm import passwords
from popular.pdm.contract import (
    CERTIFICATE,
    CHALLENGE,
    PASSWORD,
    SCRAM,
    ChallengeAnswer,
    KeysWanted,
    Provable,
    Question,
    Route,
    Secret,
    UserLimits,
)
from popular.protocol.scram import ScramKeys, invented_keys

STORED_IN_CLEAR = frozenset({PASSWORD, CHALLENGE, SCRAM, CERTIFICATE})
STORED_AS_HASHES = STORED_IN_CLEAR - {CHALLENGE, SCRAM}


def takes_with(forms: Iterable[str]) -> frozenset[str]:
    """The kinds of credential that can be answered with stored passwords of these forms.

    Challenges, and SCRAM, only where that can be done for everybody: clients that may answer one, say no password.
    """
    hashes = set(forms) - passwords.IN_CLEAR - {passwords.LOCKED}
    if not hashes:
        return STORED_IN_CLEAR
    return STORED_AS_HASHES | {SCRAM} if all(map(passwords.answers_scram, hashes)) else STORED_AS_HASHES


def proven(stored: str | None, question: Question, route: Route) -> Route | None:
    """His route, if the client has shown that it is this user; it is told the password where it has not said it.

    `stored`: None if he has no password. Raises passwords.UnknownForm, CannotVerify.
    """
    if question.kind == CERTIFICATE:
        return route if question.user and question.certificate_name == question.user else None
    if stored is None:
        return None
    proof = question.proof
    if not isinstance(proof, ChallengeAnswer):
        return route if passwords.verify(stored, question.password.reveal()) else None
    octets = passwords.in_clear(stored)
    return _told(octets, route) if octets is not None and proof.proves(Secret(octets)) else None


def provable(
    stored: str, question: Question, route: Route, *, limits: UserLimits | None = None, locked: bool = False
) -> Provable | None:
    """By what the client may prove that it is this user, where keys are wanted; None if what is stored has none. Takes
    time where it is the password itself. Raises passwords.UnknownForm.
    """
    keys = passwords.scram_keys(stored, _salt(question))
    if keys is None:
        return None
    octets = passwords.in_clear(stored)
    return Provable(keys, route if octets is None else _told(octets, route), limits, locked=locked)


def shown_to_nobody(sample: str | None, question: Question) -> ScramKeys:
    """Keys that no password has, for who is unknown, or locked: like those of this stored password, and at their price.

    Raises passwords.UnknownForm.
    """
    salt = _salt(question)
    return invented_keys(salt, None if sample is None else passwords.scram_keys(sample, salt))


def _salt(question: Question) -> bytes:
    wanted = question.proof
    assert isinstance(wanted, KeysWanted), "keys are wanted"
    return wanted.salt


def _told(password: bytes, route: Route) -> Route:
    """The backend is told the password, unless it has another one."""
    return route if route.secret is not None else route._replace(secret=Secret(password))
