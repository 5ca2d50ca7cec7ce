"""The module `ldap URL base DN [NAME VALUE]…`: users in a directory (OpenLDAP, Active Directory). With the extra
`ldap`.

    pdm add users ldap ldap://dir1.example.org,ldap://dir2.example.org starttls on cafile /etc/ssl/ca.pem
        base ou=people,dc=example,dc=org filter (mail=%u) binddn cn=popular,dc=example,dc=org
        passwordfile /etc/popular/ldap.secret backendattribute mailHost

The user is searched for below `base`, by `filter` (`%u` is his name as given, `%n` and `%d` its parts; all escaped, RFC
4515), as `binddn` with the first line of `passwordfile`, or anonymously. Exactly one entry may be found; then the
password is tried by a bind as that entry: no hash is read. An empty password is never tried (RFC 4513 section 5.1.2:
such a bind succeeds, and proves nothing). With `binduser NAME` nothing is searched: the bind is as NAME, in which `%u`,
`%n`, `%d` stand for the user (Active Directory: `%u`, or `EXAMPLE\\%n`); then `backend` says where the mail is.

`backend ID` is the backend of all, `backendattribute` and `targetattribute` name the attributes that have them, and
`accountattribute` the one with the name as which he is counted, however he writes it (uid, mail); `target
TARGET` is as in `passwd`. Several servers, by commas, are tried in their order. `starttls on` goes into TLS first, and
ends if it cannot; `cafile FILE` is whom to trust instead of the system's authorities. `filter` is usually (mail=%u).

`scramattribute authPassword` is for SCRAM-SHA-256: it names the attribute with the keys, as RFC 5803 has them,
`SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY`, which `binddn` has to be allowed to read, and nobody else. In
userPassword they are to begin with `{SCRAM-SHA-256}4096:`: what has no braces there is a password in clear to OpenLDAP.
The directory does not see such a login, and refuses nobody by rules of its own: `filter` has to leave out who is
locked, as by (!(pwdAccountLockedTime=*)).
"""

import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from popular.pdm import ldapconnection, scramstored
from popular.pdm.arguments import PASSWORDFILE, is_at_host, needs, pairs, refuse_password_in, secret_from
from popular.pdm.cafile import CAFILE, Trusted, trusted
from popular.pdm.contract import (
    PASSWORD,
    SCRAM,
    UNKNOWN,
    Answer,
    Authenticated,
    KnownUser,
    Module,
    ModuleFailed,
    NeedsPassword,
    Question,
    QuestionFailed,
    Refused,
    Secret,
    Unknown,
    UserLimits,
)
from popular.pdm.errorkinds import kind_of
from popular.pdm.ldapconnection import LDAPI, LDAPS
from popular.pdm.record import Defaults, StoredUser, Verifier, is_name
from popular.pdm.target import PLACEHOLDERS, names_user

_WORDS = (
    "base",
    "filter",
    "binddn",
    PASSWORDFILE,
    "binduser",
    "backend",
    "target",
    "backendattribute",
    "targetattribute",
    "accountattribute",
    "scramattribute",
    "starttls",
    CAFILE,
)
_FIELDS = ("backend", "target", "account")
"""What an attribute may say."""
_ONE_TOO_MANY = 2


class DirectoryEntry(NamedTuple):
    """What was found: its name, what is said of the user, and the values of the attribute with his keys."""

    dn: str
    fields: Mapping[str, str]
    keys: Sequence[bytes]

    def __repr__(self) -> str:
        return f"DirectoryEntry({self.dn}, ****)"


class Ldap(Module):
    """Searches with a connection for each thread, and binds as the user on one of its own."""

    by_address = False

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        self._ldap = needs("ldap", extra="ldap")
        if not arguments:
            raise ModuleFailed("ldap: URL is wanted: ldap://HOST[:PORT], ldaps://…, several by commas")
        self.ident, self.arguments = ident, tuple(arguments)
        self._urls = [_url(server) for server in arguments[0].split(",")]
        words = pairs("ldap", arguments[1:], _WORDS)
        if ("base" in words) == ("binduser" in words):
            raise ModuleFailed("ldap: one of `base DN` and `binduser NAME` is wanted")
        if "scramattribute" in words and "base" not in words:
            raise ModuleFailed("ldap: scramattribute wants `base DN`: by `binduser` no entry is read")
        if words.get("starttls", "on") != "on":
            raise ModuleFailed("ldap: starttls: only `on` is allowed")
        if "starttls" in words and any(url.scheme == LDAPI for url in self._urls):
            raise ModuleFailed("ldap: starttls: ldapi:// names no host for which a certificate could be")
        self._tls, self.files = self._trusted(words)
        self._words = words
        for name in ("filter", "binduser"):
            _filled(words.get(name, ""), {})
            if name in words and not names_user(words[name]):
                raise ModuleFailed(f"ldap: {name} '{words[name]}' asks for no user: it needs %u, or %n and %d")
        self._check_filter(words.get("filter", ""))
        self._secret: Secret | None = None
        if PASSWORDFILE in words:
            self._secret, files = secret_from(words[PASSWORDFILE])
            self.files = {**self.files, **files}
        self._defaults = Defaults.of("ldap", words)
        self._attributes = {field: words[f"{field}attribute"] for field in _FIELDS if f"{field}attribute" in words}
        self._gone = self._ldap.SERVER_DOWN, self._ldap.CONNECT_ERROR
        """What is said of a kept connection that has vanished. TIMEOUT is not: by then the kernel would have found out
        (ldapconnection.py), so the directory is slow, and to ask it once more would make it slower.
        """
        self._local = threading.local()
        self._times_gone = 0
        """How often a kept connection was gone: those from before it are not used again."""
        self._scram = words.get("scramattribute", "")
        self.takes = frozenset({PASSWORD, SCRAM} if self._scram else {PASSWORD})
        self._verifier = Verifier(arguments[0])

    def _trusted(self, words: Mapping[str, str]) -> Trusted:
        """Raises ModuleFailed."""
        found = trusted("ldap", words)
        if found.context is None and ("starttls" in words or any(url.scheme == LDAPS for url in self._urls)):
            return found._replace(context=ssl.create_default_context())
        return found

    def _check_filter(self, text: str) -> None:
        """By the library itself: it reads a filter before it connects, here to nowhere. Raises ModuleFailed."""
        nowhere = self._ldap.initialize(ldapconnection.NOWHERE)
        try:
            nowhere.search_ext("", self._ldap.SCOPE_BASE, _filled(text, dict.fromkeys(PLACEHOLDERS, "x")) or None)
        except self._ldap.FILTER_ERROR:
            raise ModuleFailed(f"ldap: '{text}' is no filter: (mail=%u), or as RFC 4515 has it") from None
        except self._ldap.LDAPError:
            pass
        finally:
            nowhere.unbind_s()

    def check(self, question: Question) -> Answer:
        """See Module."""
        if not is_name(question.user):
            return UNKNOWN
        if "binduser" in self._words:
            route = self._defaults.route(question.user, {})
            name = _filled(self._words["binduser"], _parts(question.user, self._escaped_dn()))
            return Authenticated(route) if self._binds(name, question.password) else Refused(route)
        if question.kind == SCRAM:
            return self._provable(question)
        entry = self._found(question.user)
        if entry is None:
            return Unknown(lambda: self._binds(f"cn=nobody,{self._words['base']}", question.password))
        known = self._known(question.user, entry.fields)
        if self._binds(entry.dn, question.password):
            return Authenticated(known.route, known.limits)
        return Refused(known.route)

    def _provable(self, question: Question) -> Answer:
        entry = self._found(question.user, keys=True)
        if entry is None:
            return self._verifier.decide(None, question)
        known = self._known(question.user, entry.fields)
        try:
            stored = scramstored.among(entry.keys)
        except scramstored.BadKeys as error:
            raise QuestionFailed(f"the attribute {self._scram}: {error}") from None
        hashes: Sequence[str | None] = stored or [None]
        users = [StoredUser(one, known.route, known.limits, locked=False) for one in hashes]
        return self._verifier.decide_among(users, question)

    def lookup(self, _namespace: str, user: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        if "base" not in self._words:
            raise NeedsPassword("without `base` there is nothing but the bind with his password")
        entry = self._found(user) if is_name(user) else None
        return None if entry is None else self._known(user, entry.fields)

    def _known(self, user: str, fields: Mapping[str, str]) -> KnownUser:
        account = fields.get("account", "")
        return KnownUser(self._defaults.route(user, fields), UserLimits(account=account) if account else None)

    def _escaped_dn(self) -> Any:
        """A name such as a UPN is taken as it is; in a distinguished name its letters are escaped (RFC 4514)."""
        escape = needs("ldap.dn", extra="ldap").escape_dn_chars
        return escape if "=" in self._words["binduser"] else str

    def _found(self, user: str, *, keys: bool = False) -> DirectoryEntry | None:
        """The user's entry, its `keys` only where they are wanted; None if there is none. One more try where a kept
        connection was gone.
        """
        parts = _parts(user, needs("ldap.filter", extra="ldap").escape_filter_chars)
        wanted = _filled(self._words.get("filter", "(mail=%u)"), parts)
        attributes = [*self._attributes.values(), *([self._scram] if keys else [])] or ["1.1"]
        while True:
            kept = self._kept()
            try:
                connection = kept or self._searching()
                found = connection.search_ext_s(
                    self._words["base"],
                    self._ldap.SCOPE_SUBTREE,
                    wanted,
                    attributes,
                    timeout=ldapconnection.SECONDS,
                    sizelimit=_ONE_TOO_MANY,
                )
            except self._ldap.SIZELIMIT_EXCEEDED:
                raise QuestionFailed("more than one entry of the directory fits the user's name") from None
            except self._ldap.LDAPError as error:
                is_gone = kept is not None and isinstance(error, self._gone)
                self._drop(all_are_gone=is_gone)
                if is_gone:
                    continue
                raise ModuleFailed(f"the directory: {type(error).__name__}") from None
            entries = [(dn, fields) for dn, fields in found if dn is not None]  # None: a referral
            if len(entries) > 1:
                raise QuestionFailed("more than one entry of the directory fits the user's name")
            return self._entry(*entries[0]) if entries else None

    def _entry(self, dn: str, attributes: Mapping[str, list[bytes]]) -> DirectoryEntry:
        named = {name.lower(): values for name, values in attributes.items()}
        return DirectoryEntry(dn, self._fields(named), named.get(self._scram.lower(), []))

    def _fields(self, named: Mapping[str, list[bytes]]) -> dict[str, str]:
        fields = {}
        for field, attribute in self._attributes.items():
            values = named.get(attribute.lower())
            if values:
                fields[field] = values[0].decode(errors="replace")
        return fields

    def _kept(self) -> Any:
        """This thread's connection; None if there is none of which nothing bad is known."""
        connection: Any = getattr(self._local, "connection", None)
        if connection is not None and self._local.made_in != self._times_gone:
            self._drop(all_are_gone=False)
            return None
        return connection

    def _searching(self) -> Any:
        """A new one, which this thread keeps."""
        made_in = self._times_gone
        password = self._secret.reveal() if self._secret is not None else b""
        self._local.connection = self._connected(self._words.get("binddn", ""), password)
        self._local.made_in = made_in
        return self._local.connection

    def _drop(self, *, all_are_gone: bool) -> None:
        """This thread's kept connection has failed. Where it is gone, those of the others mostly are, too: a firewall
        has forgotten them, say, and each would cost somebody a wait.
        """
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            if all_are_gone and self._local.made_in == self._times_gone:
                self._times_gone += 1
            self._unbind(connection)

    def _unbind(self, connection: Any) -> None:
        """Closes it now: the library does so when it is collected only, and an error's traceback may hold it."""
        with suppress(self._ldap.LDAPError):
            connection.unbind_s()

    def _connected(self, name: str, password: bytes) -> Any:
        """A connection to the first server that is there, bound as this name ("": as nobody). Raises LDAPError,
        ModuleFailed.
        """
        reason = ""
        for url in self._urls:
            try:
                connection = ldapconnection.connect(self._ldap, url, self._tls_to(url))
            except (OSError, ldapconnection.NotInTls) as error:
                reason = kind_of(error) if isinstance(error, OSError) else str(error)
                continue
            try:
                if name or "starttls" not in self._words:  # nothing is sent before the first request
                    connection.simple_bind_s(name, password)
            except (
                self._ldap.SERVER_DOWN,
                self._ldap.CONNECT_ERROR,
                self._ldap.TIMEOUT,
                self._ldap.UNAVAILABLE,
                self._ldap.BUSY,
            ) as error:
                self._unbind(connection)
                reason = type(error).__name__
                continue
            except BaseException:
                self._unbind(connection)
                raise
            return connection
        raise ModuleFailed(f"the directory: {reason}")

    def _tls_to(self, url: SplitResult) -> ssl.SSLContext | None:
        return self._tls if url.scheme == LDAPS or "starttls" in self._words else None

    def _binds(self, name: str, password: Secret) -> bool:
        """Whether the directory takes this password for this name."""
        octets = password.reveal()
        if not name or not octets or b"\0" in octets:
            return False
        connection = None
        try:
            connection = self._connected(name, octets)
        except (
            self._ldap.INVALID_CREDENTIALS,
            self._ldap.NO_SUCH_OBJECT,
            self._ldap.INAPPROPRIATE_AUTH,
            self._ldap.INVALID_DN_SYNTAX,
            self._ldap.CONSTRAINT_VIOLATION,  # 389 Directory Server: his account is locked
            self._ldap.UNWILLING_TO_PERFORM,  # FreeIPA: it is disabled
        ):
            return False
        except self._ldap.LDAPError as error:
            raise ModuleFailed(f"the directory: {type(error).__name__}") from None
        finally:
            if connection is not None:
                self._unbind(connection)
        return True

    def reload(self) -> "Ldap":
        """See Module."""
        return Ldap(self.ident, self.arguments)

    def close(self) -> None:
        """See Module."""
        self._verifier.close()


def _url(server: str) -> SplitResult:
    """Raises ModuleFailed."""
    refuse_password_in("ldap", server)
    url = urlsplit(server)
    if url.scheme not in ("ldap", LDAPS, LDAPI) or (url.scheme != LDAPI and not is_at_host(url)):
        raise ModuleFailed(f"ldap: '{server}' is no URL of a directory: ldap://HOST[:PORT], ldaps:// or ldapi://")
    return url


def _parts(user: str, escape: Any) -> dict[str, str]:
    name, at, domain = user.rpartition("@")
    return {"u": escape(user), "n": escape(name if at else user), "d": escape(domain)}


def _filled(text: str, parts: Mapping[str, str]) -> str:
    """The text with a user's parts in it. Raises ModuleFailed."""
    pieces = text.split("%")
    written = pieces[:1]
    after_percent = False
    for piece in pieces[1:]:
        if after_percent:
            written.append(piece)
            after_percent = False
        elif not piece:
            written.append("%")
            after_percent = True
        elif piece[0] in PLACEHOLDERS:
            written.append(parts.get(piece[0], "") + piece[1:])
        else:
            raise ModuleFailed(f"ldap: '%{piece[0]}' means nothing: %u, %n, %d and %% are allowed")
    return "".join(written)


def open_module(ident: str, arguments: Sequence[str]) -> Ldap:
    """See the top of this file."""
    return Ldap(ident, arguments)
