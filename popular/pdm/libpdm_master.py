"""The module `master [FILE] [strict]`: master passwords, for the postmaster and for support.

It knows no users. When another module has found a user and refused him, it is asked whether it vouches for him. It does
if the client's address and the namespace are those of a line and the password fits that line's hash. The session then
has the flag M: what it reads stays new, what it deletes is deleted.

One entry a line (`#` and empty lines: see `linefile.py`); FILE is /etc/popular/masterauth.conf if it is not given:

    IP:NAMESPACE:HASH            192.0.2.7:default:$y$j9T$...
    [IP]:NAMESPACE:HASH          [2001:db8::7]:default:$y$j9T$...

An IPv6 address stands in brackets, as in a URL. HASH is any form that `passwords.py` knows. Several lines may have the
same address and namespace: then each of the passwords will do. A bad line is skipped and told with its number; with
`strict` it is a ModuleFailed. The file is read when the module is opened or reloaded; the proxy reloads it when the
file has changed.
"""

import ipaddress
import os
import re
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

from popular.pdm import linefile, passwords
from popular.pdm.contract import UNKNOWN, Answer, KnownUser, Module, ModuleFailed, Question, Route, Unknown

DEFAULT_FILE = "/etc/popular/masterauth.conf"

_LINE = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<v4>[^:\[\]]*)):(?P<namespace>[^:]*):(?P<hash>.*)")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class MasterModule(Module):
    """The master passwords of one file, as it was when it was read."""

    local = True
    flags = "M"

    def __init__(self, ident: str, arguments: Sequence[str], path: str | None = None) -> None:
        words, strict = linefile.split_strict(arguments)
        if len(words) > 1:
            raise ModuleFailed(f"master: [FILE] [strict] is wanted, and not {len(words)} words beside strict")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._path = path or os.path.abspath(words[0] if words else DEFAULT_FILE)
        self._hashes: dict[tuple[_Address, str], list[str]] = {}
        faults = linefile.Faults(self._path, strict)
        content = linefile.read(self._path)
        faults.look_at_end(content.octets)
        for line in linefile.lines(content.octets):
            try:
                address, namespace, stored = _entry(line.text())
            except linefile.BadLine as bad:
                faults.add(line.number, str(bad))
                continue
            self._hashes.setdefault((address, namespace), []).append(stored)
        faults.refuse_if_all_are_bad(len(self._hashes))
        self.notes = faults.notes()
        self.skipped = faults.count
        self.files = {self._path: content.status}
        self.ended = content.ended(self._path)

    def check(self, question: Question) -> Answer:
        """Nobody is known here; but where a master password could count, a user whom nobody knows costs as much."""
        try:
            counts = self._stored(question)
        except ValueError:
            return UNKNOWN
        return Unknown(second_round=partial(self._vouches, question)) if counts else UNKNOWN

    def lookup(self, _namespace: str, _user: str) -> KnownUser | None:
        """See `contract.LOOKUP`: it has no users of its own."""
        return None

    def authenticate(self, question: Question, route: Route) -> bool:
        """Whether this client may open this mailbox with a master password. Raises ModuleFailed."""
        del route  # wherever the mail is
        return self._vouches(question)

    def _stored(self, question: Question) -> Sequence[str]:
        """The hashes that count for this client. Raises ValueError."""
        client = _plain(ipaddress.ip_address(question.client_ip))
        return self._hashes.get((client, question.namespace), ())

    def _vouches(self, question: Question) -> bool:
        try:
            return any(passwords.verify(stored, question.password.reveal()) for stored in self._stored(question))
        except ValueError:
            raise ModuleFailed("the client's address is none") from None
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


def _entry(text: str) -> tuple[_Address, str, str]:
    """Raises BadLine."""
    match = _LINE.fullmatch(text)
    if not match:
        raise linefile.BadLine("IP:NAMESPACE:HASH is wanted, an IPv6 address in brackets")
    try:
        if match["v6"] is not None:
            address: _Address = _plain(ipaddress.IPv6Address(match["v6"]))
        else:
            address = ipaddress.IPv4Address(match["v4"])
    except ValueError:
        raise linefile.BadLine("IP is no address: a dotted quad, or an IPv6 address in brackets, is wanted") from None
    namespace = linefile.identifier("NAMESPACE", match["namespace"])
    try:
        passwords.form_of(match["hash"])
    except passwords.UnknownForm as error:
        raise linefile.BadLine(f"HASH: {error}") from None
    return address, namespace, match["hash"]
