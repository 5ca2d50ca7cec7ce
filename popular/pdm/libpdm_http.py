"""The module `http URL [NAME VALUE]…`: asks a server as nginx's mail proxy asks its `auth_http`. With the extra `http`.

    pdm add all http http://127.0.0.1:9000/cgi-bin/auth

What nginx sends and reads is in its documentation of `ngx_mail_auth_http_module`; sent are Auth-Method, Auth-User,
Auth-Pass, Auth-Protocol, Auth-Login-Attempt, Client-IP, and of a client in TLS Auth-SSL, -Protocol and -Cipher. Blanks,
percent signs and control octets of names and passwords are escaped as nginx does it, and beside that only what is no
UTF-8.

The answer: `Auth-Status: OK` lets in, at `Auth-Server` and `Auth-Port`, which the operator has to allow (`pdm conf ID
allow NET:PORT like BACKEND`), as `Auth-User` with `Auth-Pass`, where they are given. `WAIT` has us ask once more after
`Auth-Wait` seconds; if that is long, or it says so again, it is "cannot tell". Any other status refuses, and is what
the client is told, as by nginx, after `[AUTH]`: words that tell who exists tell it to everybody. With an
`Auth-Error-Code` that begins with 4 (`451 4.3.0`) it is told so after `[SYS/TEMP]`, and that, as any code `[SYS/…]` in
front of the words, is no wrong password. The answer is held back for `Auth-Wait` seconds. An answer without
Auth-Status, or none, is "cannot tell": the first of this user only, whatever its HTTP status, the second counts for the
breaker.

`backend ID` takes the server from us instead of from Auth-Server. `header NAME` with `passwordfile FILE` sends the
file's first line in that header, as a secret between the two; `cafile FILE` is whom to trust behind https://, instead
of the system's authorities; `connections N` is how many a worker has at most (default 16).
`takes password,challenge,certificate` has the server asked for APOP and CRAM-MD5 too (Auth-Method, with Auth-Salt), and
for EXTERNAL; the password for a POP3 backend has to come from it then (Auth-Pass). Of a client that has shown a
certificate it is told Auth-SSL-Verify, -Subject, -Issuer, -Serial, -Fingerprint and -Cert.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from popular.pdm.arguments import PASSWORDFILE, is_at_host, kinds, number, pairs, refuse_password_in, secret_from
from popular.pdm.cafile import trusted
from popular.pdm.contract import (
    CERTIFICATE,
    CHALLENGE,
    PASSWORD,
    Answer,
    AsyncModule,
    Authenticated,
    CannotTell,
    CertificateShown,
    ChallengeAnswer,
    ModuleFailed,
    Question,
    QuestionFailed,
    Refused,
    Route,
    Secret,
)
from popular.pdm.httpclient import MOST_CONNECTIONS, client, http_library
from popular.protocol.replies import Code

_WORDS = ("backend", "header", PASSWORDFILE, "cafile", "takes", "connections")
_TAKES = frozenset({PASSWORD, CHALLENGE, CERTIFICATE})
_HEADER = re.compile(r"(?!auth-|client-|host$|content-|connection$)[a-z0-9-]{1,64}", re.IGNORECASE)
_CODED = re.compile(r"\[([A-Za-z/-]+)\] *(.*)")
_ESCAPED = bytes(range(0x21)) + b"%"
_LONGEST_WAIT = 60
_LONGEST_PAUSE = 2.0
"""For which we wait before we ask again."""
_SHORTEST_PAUSE = 0.1
_TEMPORARY = re.compile(r"4[0-9]{2}(?![0-9])")
"""What Auth-Error-Code begins with where the server itself has failed: a reply of SMTP, as `451 4.3.0`."""


def escaped(octets: bytes) -> str:
    """A header's value with these octets: escaped where nginx does it, and where they are no UTF-8 (or DEL)."""
    try:
        octets.decode()
        plain = True
    except UnicodeDecodeError:
        plain = False
    written = bytearray()
    for octet in octets:
        if octet in _ESCAPED or octet == 0x7F or (octet > 0x7F and not plain):
            written += b"%%%02X" % octet
        else:
            written.append(octet)
    return written.decode()


def request_headers(question: Question) -> dict[str, str]:
    """What is sent of a question."""
    proof = question.proof
    headers = {
        "Auth-Method": proof.mechanism.lower() if isinstance(proof, (ChallengeAnswer, CertificateShown)) else "plain",
        "Auth-User": escaped(question.user.encode(errors="surrogateescape")),
        "Auth-Pass": escaped(proof.digest if isinstance(proof, ChallengeAnswer) else question.password.reveal()),
        "Auth-Protocol": "pop3",
        "Auth-Login-Attempt": str(question.attempt),
        "Client-IP": question.client_ip,
    }
    if isinstance(proof, ChallengeAnswer):
        headers["Auth-Salt"] = escaped(proof.challenge)
    if question.tls_version:
        headers |= {
            "Auth-SSL": "on",
            "Auth-SSL-Protocol": question.tls_version,
            "Auth-SSL-Cipher": question.tls_cipher,
        }
    if question.certificate:
        headers |= _certificate_headers(question.certificate)
    return headers


def _certificate_headers(certificate: bytes) -> dict[str, str]:
    """What nginx says of a client's certificate that was verified."""
    shown = x509.load_der_x509_certificate(certificate)
    return {
        "Auth-SSL-Verify": "SUCCESS",
        "Auth-SSL-Subject": escaped(shown.subject.rfc4514_string().encode()),
        "Auth-SSL-Issuer": escaped(shown.issuer.rfc4514_string().encode()),
        "Auth-SSL-Serial": f"{shown.serial_number:X}",
        "Auth-SSL-Fingerprint": shown.fingerprint(hashes.SHA1()).hex(),
        "Auth-SSL-Cert": quote(shown.public_bytes(Encoding.PEM), safe="-_.~"),
    }


def answer_of(headers: Mapping[str, str], backend: str) -> Answer | float:
    """What an answer's headers say; a number: ask again in so many seconds. `backend`: instead of theirs. Raises
    QuestionFailed: a script that fails at one name answers others.
    """
    status = headers.get("Auth-Status")
    wait = _seconds(headers.get("Auth-Wait", ""))
    if not status:
        raise QuestionFailed("the server's answer has no Auth-Status")
    if status == "WAIT":
        return float(wait)
    if status != "OK":
        code, text = _words_of(status)
        if not code and _TEMPORARY.match(headers.get("Auth-Error-Code", "")):
            code = Code.SYS_TEMP.value
        return Refused(code=code, wait=float(wait), text=text)
    place = backend or _place(headers)
    user, password = headers.get("Auth-User"), headers.get("Auth-Pass")
    return Authenticated(
        Route(place, user or None, Secret(password.encode(errors="surrogateescape")) if password else None)
    )


def _words_of(status: str) -> tuple[str, str]:
    """What the client is told: the status, as far as it can stand in a reply, and a response code that begins it."""
    if not status.isascii() or not status.isprintable():
        return "", ""
    match = _CODED.fullmatch(status)
    return (match[1], match[2]) if match else ("", status)


def _place(headers: Mapping[str, str]) -> str:
    host, port = headers.get("Auth-Server", ""), headers.get("Auth-Port", "")
    if not host or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise QuestionFailed("the server's answer has no Auth-Server, or no Auth-Port from 1 to 65535")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _seconds(text: str) -> int:
    return min(int(text), _LONGEST_WAIT) if text.isascii() and text.isdigit() and len(text) < 10 else 0


class Http(AsyncModule):
    """Asks one server, over connections that are kept."""

    by_address = True

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        self._library = http_library("http")
        if not arguments:
            raise ModuleFailed("http: URL is wanted, as http://HOST[:PORT]/PATH")
        self.ident, self.arguments = ident, tuple(arguments)
        self._url = arguments[0]
        refuse_password_in("http", self._url)
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not is_at_host(parts):
            raise ModuleFailed("http: URL is http://HOST[:PORT]/PATH, or https://…")
        words = pairs("http", arguments[1:], _WORDS)
        self._backend = words.get("backend", "")
        self.takes = kinds("http", words, "takes", allowed=_TAKES)
        self._secret: dict[str, str] = {}
        if ("header" in words) != (PASSWORDFILE in words):
            raise ModuleFailed(f"http: `header NAME` and `{PASSWORDFILE} FILE` belong together")
        if "header" in words:
            if not _HEADER.fullmatch(words["header"]):
                raise ModuleFailed(
                    f"http: header '{words['header']}' is none of yours: letters, digits and - are allowed"
                )
            secret, self.files = secret_from(words[PASSWORDFILE])
            self._secret = {words["header"]: escaped(secret.reveal())}
        self._trust, files = trusted("http", words)
        self.files = {**self.files, **files}
        self._connections = number("http", words, "connections", usual=16, most=MOST_CONNECTIONS)
        self._session: Any = None

    async def ready(self) -> None:
        """See AsyncModule."""
        self._session = client(self._library, connections=self._connections, trusted=self._trust)

    async def check(self, question: Question) -> Answer:
        """See AsyncModule."""
        answer = answer_of(await self._asked(question), self._backend)
        if isinstance(answer, float) and answer <= _LONGEST_PAUSE:
            await asyncio.sleep(max(answer, _SHORTEST_PAUSE))
            answer = answer_of(await self._asked(question), self._backend)
        return CannotTell("the server has us wait") if isinstance(answer, float) else answer

    async def _asked(self, question: Question) -> Mapping[str, str]:
        headers = request_headers(question) | self._secret
        try:
            async with self._session.get(self._url, headers=headers, allow_redirects=False) as response:
                told: Mapping[str, str] = response.headers
                return told
        except self._library.ClientResponseError as error:  # headers that are too long, say
            raise QuestionFailed(f"the server: {type(error).__name__}") from None
        except (self._library.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ModuleFailed(f"the server: {type(error).__name__}") from None

    def reload(self) -> "Http":
        """See AsyncModule."""
        return Http(self.ident, self.arguments)

    async def close(self) -> None:
        """See AsyncModule."""
        if self._session is not None:
            await self._session.close()


def open_module(ident: str, arguments: Sequence[str]) -> Http:
    """See the top of this file."""
    return Http(ident, arguments)
