"""What a client has shown by AUTH or APOP, as a question for the modules. Pure.

USER and PASS, which most clients say, do without: `authorization.py` makes their question itself.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from popular.pdm import contract
from popular.pdm.contract import CertificateShown, ChallengeAnswer, Credential, KeysWanted, Question, Secret, Token
from popular.protocol.sasl import Presented
from popular.protocol.scram import SCRAM

NO_PASSWORD = Secret(b"")
APOP, EXTERNAL = "APOP", "EXTERNAL"


def _password(shown: Presented, _mechanism: str, _challenge: bytes) -> Credential:
    return Secret(shown.proof)


def _token(shown: Presented, mechanism: str, _challenge: bytes) -> Credential:
    return Token(mechanism, Secret(shown.proof))


def _answer(shown: Presented, mechanism: str, challenge: bytes) -> Credential:
    return ChallengeAnswer(mechanism, challenge, shown.proof)


def _certificate(_shown: Presented, mechanism: str, _challenge: bytes) -> Credential:
    return CertificateShown(mechanism)


def _keys(shown: Presented, mechanism: str, salt: bytes) -> Credential:
    return KeysWanted(mechanism, salt, shown.proof)


class CredentialRow(NamedTuple):
    """What the modules are asked about who has logged in by a mechanism: a credential of which kind, and how it is made
    of what he has shown, the mechanism's name, and the challenge.
    """

    kind: str
    credential: Callable[[Presented, str, bytes], Credential]


CREDENTIALS: Mapping[str, CredentialRow] = {
    "PLAIN": CredentialRow(contract.PASSWORD, _password),
    "LOGIN": CredentialRow(contract.PASSWORD, _password),
    SCRAM: CredentialRow(contract.SCRAM, _keys),
    "CRAM-MD5": CredentialRow(contract.CHALLENGE, _answer),
    APOP: CredentialRow(contract.CHALLENGE, _answer),
    "XOAUTH2": CredentialRow(contract.TOKEN, _token),
    "OAUTHBEARER": CredentialRow(contract.TOKEN, _token),
    EXTERNAL: CredentialRow(contract.CERTIFICATE, _certificate),
}
"""By the mechanism of AUTH, or APOP."""


def with_credential(question: Question, mechanism: str, challenge: bytes, *, shown: Presented) -> Question:
    """The question of who this is, with what the client has shown for it. `challenge`: to what it has answered; for
    SCRAM, the salt of who has none of his own.
    """
    credential = CREDENTIALS[mechanism].credential(shown, mechanism, challenge)
    if isinstance(credential, Secret):
        return question._replace(password=credential)
    if isinstance(credential, Token):
        return question._replace(token=credential)
    return question._replace(proof=credential)
