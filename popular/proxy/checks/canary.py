"""One check of a backend: as a client would come to it, with a mailbox that is kept for that.

    connect   a connection stands, with TLS where it is implicit; and whoever should not greet (XPOP) does not
    greeting  and the backend greets
    capa      and STLS is done where the backend has it, and CAPA answered
    login     and the canary is let in as the backend's `login` says, CAPA asked again, STAT and QUIT answered

A backend with several addresses is well if it is at one of them as far as the greeting, as for a login: the next one is
tried where this one is not, or has had its part of the time.

A backend that refuses the canary alone (a wrong password, a mailbox in use) is well, as `capa` would find it.

Blocks, for no longer than its Patience says: it runs in a thread of the helper. No secret is in what it says.
"""

import ssl
import time
from dataclasses import replace
from typing import NamedTuple

from popular.pdm.contract import Secret
from popular.protocol.capabilities import LONGEST_LIST, is_capability
from popular.protocol.lines import LONGEST_REPLY, is_ok
from popular.protocol.proxyheader import build
from popular.protocol.replies import known_code
from popular.proxy.backend_tls import BackendTls, words_of
from popular.proxy.checks.reaching import reach
from popular.proxy.session.backend.backend_auth import Credentials, login_for
from popular.proxy.session.backend.backend_login import Broken, LoggedIn, Rejected
from popular.proxy.session.backend.contracts import OURS, failure_of
from popular.proxy.session.backend.improper import said
from popular.proxy.session.backend.rejections import Cause, cause_of
from popular.proxy.settings.backend import (
    CAPA,
    CONNECT,
    GREETING,
    IMPLICIT,
    LOGIN,
    OFF,
    POP3,
    STARTTLS,
    Backend,
    looks_at_passwords,
)

_OK = b"+OK\r\n"
_GREETS_WITHIN = 0.5
"""Seconds after which who has said nothing is taken not to greet."""


class Failed(Exception):
    """The backend is not well; the text says why."""


class Patience(NamedTuple):
    """How long a check waits, in seconds: for each answer, and for all of them together."""

    answer: float
    whole: float

    def told(self, took: float) -> str:
        """Why it has ended after so many seconds."""
        return f"not done within {self.whole:.3g} s" if took >= self.whole else f"no answer within {self.answer:.3g} s"


class Finding(NamedTuple):
    """What a check has found. `why` is "" if the backend is well; the capabilities are None where it was not asked."""

    why: str = ""
    before: tuple[str, ...] | None = None
    """What it announces before the login."""
    after: tuple[str, ...] | None = None
    """And after it."""
    refused: str = ""
    """How the canary is refused, which is no fault of the backend; "" if it is not."""


def check(backend: Backend, tls: BackendTls | None, patience: Patience) -> Finding:
    """Checks it as its `health` says. `tls`: what it needs for TLS. Raises OSError where we lack something."""
    began = time.monotonic()
    try:
        with _CanaryConnection(backend, tls, patience) as connection:
            found = _converse(connection, backend)
            return found._replace(refused=_without_secrets(found.refused, backend))
    except Failed as failed:
        return Finding(_without_secrets(str(failed), backend))
    except TimeoutError:
        return Finding(patience.told(time.monotonic() - began))
    except ssl.SSLError as error:
        return Finding(words_of(error, tls.name if tls is not None else ""))
    except OSError as error:
        if failure_of(error).word == OURS:
            raise
        return Finding(error.strerror or type(error).__name__)


def _without_secrets(why: str, backend: Backend) -> str:
    """For the log and the table. A backend may repeat what it was told at any later step, not only where it refuses."""
    kept = (backend.healthsecret, backend.mastersecret)
    secrets = [one.octets.decode("utf-8", "replace") for one in kept if one.octets]
    is_told = any(secret in why for secret in secrets)
    return f"{why.partition(':')[0]}: (not shown: a secret is in it)" if is_told else why


def _converse(connection: "_CanaryConnection", backend: Backend) -> Finding:
    if backend.health == CONNECT:
        return Finding()
    if backend.health == GREETING:
        connection.quit()
        return Finding()
    if backend.tls == STARTTLS:
        connection.say(b"STLS\r\n")
        connection.expect_ok("STLS")
        connection.start_tls()
    before = connection.capabilities()
    if backend.health == CAPA:
        connection.quit()
        return Finding(before=before)
    assert backend.health == LOGIN
    if refused := _rejection_of_canary(connection, backend):
        return Finding(before=before, refused=refused)
    after = connection.capabilities()
    connection.say(b"STAT\r\n")
    connection.expect_ok("STAT")
    connection.quit()
    return Finding(before=before, after=after)


def _rejection_of_canary(connection: "_CanaryConnection", backend: Backend) -> str:
    """Logs it in, by the dialogue of any other login; the greeting and TLS are behind us. Tells how it is rejected,
    where that is its own fault.
    """
    secret = Secret(backend.healthsecret.octets) if backend.healthsecret.path else None
    shown = Credentials(backend.healthuser, secret)
    try:
        login = login_for(replace(backend, tls=OFF), shown, xclient=b"", ahead=False, offered=frozenset())
    except ValueError as error:
        raise Failed(f"healthuser: {error}") from None
    progress = login.hear(_OK)
    while not isinstance(progress, LoggedIn):
        match progress:
            case bytes():
                connection.say(progress)
            case Rejected():
                said = progress.reply.decode("utf-8", "replace")
                refusal = f"healthuser is refused while {progress.step}: {said}"
                if _is_its_own(progress, backend):
                    return refusal
                raise Failed(refusal)
            case Broken():
                raise Failed(f"{login.step}: {progress.reason}")
        progress = login.hear(connection.line() + b"\r\n")
    return ""


def _is_its_own(rejected: Rejected, backend: Backend) -> bool:
    code, of_user = known_code(rejected.code), looks_at_passwords(backend)
    cause = cause_of(rejected, code, in_clear=backend.tls == OFF, of_user=of_user, user=backend.healthuser)
    return cause not in (Cause.BACKEND, Cause.TLS)


class _CanaryConnection:
    """A connection that is told line by line, until its time is over."""

    def __init__(self, backend: Backend, tls: BackendTls | None, patience: Patience) -> None:
        self._until = time.monotonic() + patience.whole
        self._longest = patience.answer
        self._held = b""
        untried = list(range(len(backend.addresses)))
        trouble: Exception | None = None
        while untried:
            self._longest = min(patience.answer, (self._until - time.monotonic()) / len(untried))
            try:
                trouble = self._try_one_of(untried, backend, tls)
            except OSError as error:
                if failure_of(error).word == OURS:
                    raise
                raise trouble or error from None  # one that was connected tells more than one that was not
            if trouble is None:
                break
        if trouble is not None:
            raise trouble
        self._longest = patience.answer

    def _try_one_of(self, untried: list[int], backend: Backend, tls: BackendTls | None) -> Exception | None:
        """What is wrong at the address to which there is a connection first. Raises OSError if there is none to any."""
        self._socket, number = reach(backend, self._left(), untried)
        untried.remove(number)
        self._tls = tls.at_address(number) if tls is not None else None
        try:
            self._begin(backend)
        except (Failed, OSError) as error:
            self._socket.close()
            return error
        return None

    def _begin(self, backend: Backend) -> None:
        """As far as the greeting: who wants in was not said yet."""
        self._held = b""
        self._socket.settimeout(self._left())
        if backend.sendproxy != OFF:
            self._socket.sendall(build(backend.sendproxy, None, None))
        if backend.tls == IMPLICIT:
            self.start_tls()
        if backend.health != CONNECT:
            self.expect_ok("the greeting")
        elif backend.prot != POP3:
            self._expect_silence()

    def __enter__(self) -> "_CanaryConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _left(self) -> float:
        """Seconds for the next answer."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._longest)

    def start_tls(self) -> None:
        assert self._tls is not None
        if self._held:
            raise Failed("more than one reply before TLS")
        self._socket.settimeout(self._left())
        try:
            channel = self._tls.context.wrap_socket(self._socket, server_hostname=self._tls.name)
        except ssl.SSLError as error:  # by the name that counts at the address that was reached
            raise Failed(words_of(error, self._tls.name)) from None
        self._socket = channel
        if objection := self._tls.objection_to(channel.getpeercert(True)):
            raise Failed(objection)

    def say(self, data: bytes) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def line(self) -> bytes:
        """The next line, without its end."""
        while b"\n" not in self._held:
            if len(self._held) > LONGEST_REPLY:
                raise Failed("a line without end")
            self._socket.settimeout(self._left())
            data = self._socket.recv(4096)
            if not data:
                raise Failed("it closed the connection")
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        return line.removesuffix(b"\r")

    def _expect_silence(self) -> None:
        """A storage server says nothing by itself: a greeting would be taken for the answer that a mailbox is open."""
        self._socket.settimeout(min(self._left(), _GREETS_WITHIN))
        try:
            heard = self._socket.recv(LONGEST_REPLY)
        except TimeoutError:
            return
        if heard:
            raise Failed(f"it greets (is it a POP3 server?); {said(heard.splitlines()[0])}")

    def expect_ok(self, what: str) -> None:
        line = self.line()
        if not is_ok(line):
            raise Failed(f"no proper reply to {what}: {line.decode('utf-8', 'replace')}")

    def capabilities(self) -> tuple[str, ...]:
        """None if it does not know CAPA."""
        self.say(b"CAPA\r\n")
        if not is_ok(self.line()):
            return ()
        found, octets = [], 0
        while (line := self.line()) != b".":
            octets += len(line)
            if octets > LONGEST_LIST:
                raise Failed("it says too much")
            text = line.decode("ascii", "replace")
            if is_capability(text):
                found.append(text)
        return tuple(found)

    def quit(self) -> None:
        self.say(b"QUIT\r\n")
        self.expect_ok("QUIT")
