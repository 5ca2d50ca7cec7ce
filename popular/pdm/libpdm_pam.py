"""The module `pam [service NAME] backend ID [target TARGET]`: users of this machine's PAM. With the extra `pam`.

    pdm add local pam service pop3 backend store1

The service is a file in /etc/pam.d, `pop3` if none is named; no distribution brings that, the operator writes it. Where
there is none PAM would ask the service `other`, which refuses everybody as if his password were wrong; so that is an
error here. PAM asks its modules in a thread, one handle for each question; `pam_unix` looks at others' passwords only
as root (or through its helper, and then only at those of the run user), so a proxy that has given up root uses services
that need no privileges: pam_ldap, pam_krb5, pam_radius, pam_sss.

PAM does not tell who exists: whoever may not come in is "refused", and no module after this one is asked for him. So
it stands last.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from popular.pdm.arguments import needs, pairs
from popular.pdm.contract import Answer, Authenticated, Module, ModuleFailed, Question, Refused
from popular.pdm.record import Defaults, is_name

_WORDS = ("service", "backend", "target")
_REFUSES = frozenset({6, 7, 10, 11, 12, 13, 16, 17, 20, 27})
"""What is said of this user (security/_pam_types.h): PERM_DENIED, AUTH_ERR, USER_UNKNOWN, MAXTRIES, NEW_AUTHTOK_REQD,
ACCT_EXPIRED, CRED_UNAVAIL, CRED_EXPIRED, AUTHTOK_ERR, AUTHTOK_EXPIRED. Whatever else goes wrong is PAM's own."""
_AUTH_ERR = 7
"""The password is wrong, and there is no more to say."""
_DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d")
"""Where PAM looks for a service; which of the last two depends on the distribution."""
_WRAPPED = "PAM_WRAPPER_SERVICE_DIR"
"""Where pam_wrapper(1), by which PAM is tried, has its services: nowhere else is looked then."""


class Pam(Module):
    """Asks PAM for each login anew."""

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        self._pam = needs("pam", extra="pam")
        self.ident, self.arguments = ident, tuple(arguments)
        words = pairs("pam", arguments, _WORDS)
        if "backend" not in words:
            raise ModuleFailed("pam: `backend ID` is wanted: PAM does not say where a mailbox is")
        self._service = words.get("service", "pop3")
        if not self._service.replace("-", "").replace("_", "").isalnum():
            raise ModuleFailed(f"pam: service '{self._service}' is no name of a file in /etc/pam.d")
        _look_for(self._service)
        self._defaults = Defaults.of("pam", words)

    def check(self, question: Question) -> Answer:
        """See Module."""
        route = self._defaults.route(question.user, {})
        password = question.password.reveal()
        if not question.user or not is_name(question.user) or b"\0" in password or not password:
            return Refused(route)
        _look_for(self._service)
        handle = self._pam.PamAuthenticator()
        told = handle.authenticate(
            question.user,
            password,
            service=self._service,
            call_end=True,
            resetcreds=False,
            print_failure_messages=False,
        )
        if told:
            return Authenticated(route)
        said = str(handle.reason)
        if handle.code not in _REFUSES:
            raise ModuleFailed(f"PAM: code {handle.code}: {said}")
        return Refused(route) if handle.code == _AUTH_ERR else Refused(route, reason=said)

    def reload(self) -> "Pam":
        """See Module."""
        return Pam(self.ident, self.arguments)


def _look_for(service: str) -> None:
    """Raises ModuleFailed if PAM has no such service; it looks for it in small letters."""
    name = service.lower()
    wrapped = os.environ.get(_WRAPPED)
    if not any(Path(directory, name).is_file() for directory in ([wrapped] if wrapped else _DIRECTORIES)):
        raise ModuleFailed(
            f"pam: there is no file {_DIRECTORIES[0]}/{name}, and PAM would ask its service 'other', which refuses "
            "everybody: write it, or name another one (service NAME)"
        )


def open_module(ident: str, arguments: Sequence[str]) -> Pam:
    """See the top of this file."""
    return Pam(ident, arguments)
