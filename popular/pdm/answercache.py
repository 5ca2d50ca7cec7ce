"""What modules have answered, kept for a while, so that they need not be asked again. Pure.

No password and no token is in here, only a digest of it with a key that lives as long as the process: nobody can tell
from a copy of the memory, without that key, whether he has guessed one. Nor is an answer kept that holds a password
for a backend, or the work that hides who exists.
"""

import threading
from collections import OrderedDict
from hashlib import blake2b
from typing import NamedTuple

from popular.pdm.contract import UNKNOWN, Authenticated, CannotTell, Question, Refused, Secret, Token, Unknown
from popular.protocol.replies import OF_THE_SERVER, known_code

_DIGEST = 16


class CachedAnswer(NamedTuple):
    """An answer, who it is about, when it was given, and for how long it counts."""

    answer: Authenticated | Refused | Unknown
    whom: tuple[str, str]
    since: float
    seconds: float

    @property
    def account(self) -> str:
        """As whom the module has him."""
        limits = self.answer.limits if isinstance(self.answer, Authenticated) else None
        return (limits.account if limits is not None else "") or self.whom[1]

    def is_about(self, whom: str) -> bool:
        """Whether it is about `NAMESPACE:USER`, or `USER`."""
        namespace, user = self.whom
        return any(whom in (name, f"{namespace}:{name}") for name in (user, self.account))

    def is_fresh(self, now: float) -> bool:
        return now - self.since < self.seconds

    def is_useful(self, now: float, stale: float) -> bool:
        """Whether it counts while the module cannot tell: it has let the user in, not too long ago, and not for a time
        of its own that is over (that of a token).
        """
        if not isinstance(self.answer, Authenticated):
            return False
        own = self.answer.cache
        seconds = self.seconds + stale
        return now - self.since < (seconds if own is None else min(seconds, own))


class AnswerCache:
    """One module's answers in one process. Many threads may use it."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: the key of the digests."""
        self._secret = secret
        self._answers: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        """The one that was not asked for for the longest time is in front."""
        self._lock = threading.Lock()
        self.flushes = 0
        """How often it was emptied. An answer is kept only if this is the same as when its question was put."""

    def __len__(self) -> int:
        return len(self._answers)

    def key(self, question: Question, by_address: bool) -> bytes:
        """The name under which an answer is kept: a digest of all on which it may depend."""
        credential = question.credential
        kind, octets = question.kind, b""
        if isinstance(credential, Token):
            kind, octets = credential.mechanism, credential.secret.reveal()
        elif isinstance(credential, Secret):
            octets = credential.reveal()
        digest = blake2b(key=self._secret, digest_size=_DIGEST)
        texts = [question.namespace, question.user, question.vserv, question.protocol, question.certificate_name]
        texts += [question.tls_version, question.tls_cipher, question.actor, question.defaultns]
        for text in (*texts, question.client_ip if by_address else "", kind):
            digest.update(_counted(text.encode(errors="surrogatepass")))
        digest.update(_counted(octets))
        digest.update(_counted(question.certificate))
        return digest.digest()

    def find(self, key: bytes) -> CachedAnswer | None:
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
            return found

    def keep(self, key: bytes, cached: CachedAnswer, *, most: int, flushes: int) -> None:
        """`most`: how many there may be; the one that was not asked for for the longest time goes."""
        if flushes != self.flushes or cached.seconds <= 0:
            return
        with self._lock:
            self._answers[key] = cached
            self._answers.move_to_end(key)
            while len(self._answers) > most:
                self._answers.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """The module has answered something else since, and that is not kept."""
        with self._lock:
            self._answers.pop(key, None)

    def about(self, namespace: str, user: str) -> list[CachedAnswer]:
        """What is kept of this user."""
        with self._lock:
            return [one for one in self._answers.values() if one.whom == (namespace, user)]

    def flush(self, whom: str = "") -> None:
        """Forgets a user, `NAMESPACE:USER` or `USER` in whatever namespace, however he has written his name; or
        everybody.
        """
        with self._lock:
            self.flushes += 1
            if not whom:
                self._answers.clear()
                return
            about = {key: one for key, one in self._answers.items() if one.is_about(whom)}
            accounts = {(one.whom[0], one.account) for one in about.values()}
            gone = [key for key, one in self._answers.items() if key in about or (one.whom[0], one.account) in accounts]
            for key in gone:
                del self._answers[key]


def tells_nothing(answer: object) -> bool:
    """Whether nothing is known of the user by it: the module cannot tell, or says that its server is at fault."""
    is_of_server = isinstance(answer, Refused) and known_code(answer.code.encode()) in OF_THE_SERVER
    return is_of_server or isinstance(answer, CannotTell)


def to_keep(answer: object) -> Authenticated | Refused | Unknown | None:
    """What of an answer may be kept; None for nothing."""
    if isinstance(answer, Unknown):
        return UNKNOWN
    if not isinstance(answer, (Authenticated, Refused)):
        return None
    if tells_nothing(answer):
        return None
    return None if answer.route is not None and answer.route.secret is not None else answer


def _counted(octets: bytes) -> bytes:
    return len(octets).to_bytes(4) + octets
