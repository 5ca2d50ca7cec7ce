"""The module `master [FILE]`: master passwords, for the postmaster and for support.

It knows no users. When another module has found a user and refused him, it is asked whether it vouches for him. It does
if the client's address and the namespace are those of a line and the password fits that line's hash. The session then
has the flag M: what it reads stays new, what it deletes is deleted.

One entry a line (`#` and empty lines: see `linefile.py`); FILE is /etc/popular/masterauth.conf if it is not given:

    IP:NAMESPACE:HASH            192.0.2.7:default:$y$j9T$...
    [IP]:NAMESPACE:HASH          [2001:db8::7]:default:$y$j9T$...

An IPv6 address stands in brackets, as in a URL. HASH is any form that `passwords.py` knows. Several lines may have the
same address and namespace: then each of the passwords will do.
"""

import ipaddress
import os
import re
from collections.abc import Sequence
from typing import TypeAlias

from popular.pdm import linefile, passwords
from popular.pdm.contract import Module, ModuleFailed, Question, Route

DEFAULT_FILE = "/etc/popular/masterauth.conf"

_LINE = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<v4>[^:\[\]]*)):(?P<namespace>[^:]*):(?P<hash>.*)")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class MasterModule(Module):
    """The master passwords of one file, as it was when it was read."""

    flags = "M"

    def __init__(self, ident: str, arguments: Sequence[str], path: str | None = None) -> None:
        if len(arguments) > 1:
            raise ModuleFailed(f"master: one argument at most is wanted ([FILE]), not {len(arguments)}")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._path = path or os.path.abspath(arguments[0] if arguments else DEFAULT_FILE)
        self._hashes: dict[tuple[_Address, str], list[str]] = {}
        for line in linefile.lines(self._path, linefile.read(self._path)):
            address, namespace, stored = _entry(line)
            self._hashes.setdefault((address, namespace), []).append(stored)

    def authenticate(self, question: Question, route: Route) -> bool:
        """Whether this client may open this mailbox with a master password. Raises ModuleFailed."""
        del route  # wherever the mail is
        try:
            client = _plain(ipaddress.ip_address(question.client_ip))
        except ValueError:
            raise ModuleFailed("the client's address is none") from None
        try:
            return any(
                passwords.verify(stored, question.password.reveal())
                for stored in self._hashes.get((client, question.namespace), ())
            )
        except (passwords.UnknownForm, passwords.CannotVerify) as error:
            raise ModuleFailed(f"{self._path}: {error}") from None

    def reload(self) -> "MasterModule":
        """The file, read anew."""
        return MasterModule(self.ident, self.arguments, self._path)


def open_module(ident: str, arguments: Sequence[str]) -> MasterModule:
    """See the top of this file."""
    return MasterModule(ident, arguments)


def _plain(address: _Address) -> _Address:
    """An IPv4 client of a dual-stack socket comes as ::ffff:a.b.c.d, and is a.b.c.d."""
    return getattr(address, "ipv4_mapped", None) or address


def _entry(line: linefile.Line) -> tuple[_Address, str, str]:
    match = _LINE.fullmatch(line.text)
    if not match:
        line.wrong("IP:NAMESPACE:HASH is wanted, an IPv6 address in brackets")
    try:
        if match["v6"] is not None:
            address: _Address = _plain(ipaddress.IPv6Address(match["v6"]))
        else:
            address = ipaddress.IPv4Address(match["v4"])
    except ValueError:
        line.wrong("IP is no address: a dotted quad, or an IPv6 address in brackets, is wanted")
    namespace = line.identifier("NAMESPACE", match["namespace"])
    try:
        passwords.form_of(match["hash"])
    except passwords.UnknownForm as error:
        line.wrong(f"HASH: {error}")
    return address, namespace, match["hash"]
