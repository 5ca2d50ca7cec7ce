"""Whether what a client has shown fits what is stored of a user: a password, an answer to a challenge, a certificate.

Whoever has stored passwords shares this: text files, databases, directories of hashes.
"""

from collections.abc import Iterable

from popular.pdm import passwords
from popular.pdm.contract import CERTIFICATE, CHALLENGE, PASSWORD, ChallengeAnswer, Question, Route, Secret

STORED_IN_CLEAR = frozenset({PASSWORD, CHALLENGE, CERTIFICATE})
STORED_AS_HASHES = STORED_IN_CLEAR - {CHALLENGE}


def takes_with(forms: Iterable[str]) -> frozenset[str]:
    """The kinds of credential that can be answered with stored passwords of these forms.

    Challenges only where that can be done for everybody: clients that may answer one, say no password.
    """
    others = set(forms) - passwords.IN_CLEAR - {passwords.LOCKED}
    return STORED_AS_HASHES if others else STORED_IN_CLEAR


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
    if octets is None or not proof.proves(Secret(octets)):
        return None
    return route if route.secret is not None else route._replace(secret=Secret(octets))
