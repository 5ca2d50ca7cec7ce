"""The module `certificate BACKEND`: lets in who has shown a verified client certificate with the user's own name.

For a virtual server with `clientcert require` and a backend of pserv, which wants no password; by AUTH EXTERNAL, or
with any password. An example for writers of modules; see popular-pdm(7).
"""

from collections.abc import Sequence

from popular.pdm.contract import (
    CERTIFICATE,
    PASSWORD,
    UNKNOWN,
    Answer,
    Authenticated,
    Module,
    ModuleFailed,
    Question,
    Route,
)


class CertificateModule(Module):
    """Looks at the name in the certificate, and never at the password."""

    blocking = False  # it never waits: it may be asked on the event loop
    takes = frozenset({PASSWORD, CERTIFICATE})

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        if len(arguments) != 1:
            raise ModuleFailed("certificate: one argument is wanted: BACKEND")
        self.ident, self.arguments = ident, tuple(arguments)
        self._answer = Authenticated(Route(arguments[0]))

    def check(self, question: Question) -> Answer:
        return self._answer if question.user and question.certificate_name == question.user else UNKNOWN

    def reload(self) -> "CertificateModule":
        return CertificateModule(self.ident, self.arguments)


def open_module(ident: str, arguments: Sequence[str]) -> CertificateModule:
    """What `pdm add ID certificate BACKEND` calls."""
    return CertificateModule(ident, arguments)
