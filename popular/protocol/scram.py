"""SCRAM-SHA-256 (RFC 5802, RFC 7677) as its server: the keys of a password, and one exchange. Pure.

    proof = Proof(first, nonce)         # what the client has said first; `proof.user` is whom it names
    said = proof.challenge(keys)        # the answer to that
    said = proof.answered(final)        # … and to what it says then; b"": it does not have the password

The messages, and what is computed of them, are the library scramp's. It is imported when somebody first needs it: that
takes as long as all else that a small program imports. Channel binding is not to be had.
"""

import functools
import importlib
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

from popular.protocol.sasl import BadResponse

SCRAM = "SCRAM-SHA-256"
FEWEST_ITERATIONS, MOST_ITERATIONS = 4096, 1_000_000
"""The least is the RFC's; the most takes a processor half a second for each login by a password."""
SHORTEST_SALT, LONGEST_SALT = 12, 64
"""Octets."""
USUAL_SALT = 16
KEY_OCTETS = 32
LONGEST_MESSAGE = 2048
"""Octets of what a client says at once: room for the longest name, with all of its octets escaped, and for a nonce."""
_WRONG = "invalid-proof"
_NO_BINDING = b"p"


class ScramKeys(NamedTuple):
    """What is kept of a password: who has these can tell whether a client has the password, and cannot log in."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "ScramKeys(****)"

    @property
    def fit_nobody(self) -> bool:
        """Whether they are invented: no password has such."""
        return self.stored_key == bytes(KEY_OCTETS)

    @property
    def are_sound(self) -> bool:
        """Whether a client can be shown them, and can prove that it has their password."""
        return (
            SHORTEST_SALT <= len(self.salt) <= LONGEST_SALT
            and FEWEST_ITERATIONS <= self.iterations <= MOST_ITERATIONS
            and {len(self.stored_key), len(self.server_key)} == {KEY_OCTETS}
        )


def keys_of(password: bytes, salt: bytes, iterations: int = FEWEST_ITERATIONS) -> ScramKeys | None:
    """The keys of a password, which take time to compute. None if SCRAM does not allow such a password (SASLprep)."""
    library = _library()
    try:
        made = library.ScramMechanism(SCRAM).make_auth_info(password.decode(), iterations, salt)
    except (UnicodeDecodeError, library.ScramException):
        return None
    salt, stored_key, server_key, iterations = made
    return ScramKeys(salt, iterations, stored_key=stored_key, server_key=server_key)


def invented_salt(key: bytes, namespace: str, user: str) -> bytes:
    """A salt for whoever has none of his own: always the same for one name, and foretold by nobody without the key."""
    name = f"{namespace}\0{user}".encode("utf-8", "surrogatepass")
    return blake2b(name, key=key, digest_size=LONGEST_SALT).digest()


def invented_keys(salt: bytes, like: ScramKeys | None = None) -> ScramKeys:
    """Keys that no password has, to be shown for who does not exist, or does not come in: as long as others are."""
    if like is None:
        return ScramKeys(salt[:USUAL_SALT], FEWEST_ITERATIONS, bytes(KEY_OCTETS), server_key=bytes(KEY_OCTETS))
    return ScramKeys(salt[: len(like.salt)], like.iterations, bytes(KEY_OCTETS), server_key=bytes(KEY_OCTETS))


class Proof:
    """One exchange with one client. Raises BadResponse for what SCRAM does not allow, whoever the user is."""

    __slots__ = ("_first", "_nonce", "_server", "holds", "user")

    def __init__(self, first: bytes, nonce: str) -> None:
        """`nonce`: what nobody can foretell, in printable ASCII without a comma."""
        if first.startswith(_NO_BINDING):
            raise BadResponse(f"channel binding is not to be had with {SCRAM}")
        self._first = _text(first)
        self._nonce = nonce
        self._server: Any = None
        self.holds = False
        """The client has proven that it has the password of the keys."""
        named: list[str] = []
        anybody = invented_keys(bytes(LONGEST_SALT))

        def noted(name: str) -> ScramKeys:
            named.append(name)
            return anybody

        self._begun(noted)
        self.user = named[0]

    def challenge(self, keys: ScramKeys) -> bytes:
        """What is said to the client's first message."""
        self._server = self._begun(lambda _name: keys)
        said: str = self._server.get_server_first()
        return said.encode()

    def answered(self, final: bytes) -> bytes:
        """What is said to its second one, which `holds`; or b"": it does not."""
        library, server = _library(), self._server
        assert server is not None, "it has had its challenge"
        try:
            server.set_client_final(_text(final))
            said: str = server.get_server_final()
        except library.ScramException as error:
            if error.server_error is not None and error.server_error.value == _WRONG:
                return b""
            raise _bad() from None
        except ValueError:
            raise _bad() from None
        self.holds = True
        return said.encode()

    def _begun(self, find: Callable[[str], ScramKeys]) -> Any:
        library = _library()

        def found(name: str) -> tuple[bytes, bytes, bytes, int]:
            keys = find(name)
            return keys.salt, keys.stored_key, keys.server_key, keys.iterations

        server = library.ScramMechanism(SCRAM).make_server(found, s_nonce=self._nonce)
        try:
            server.set_client_first(self._first)
        except library.ScramException:
            raise _bad() from None
        return server


class ScramClient:
    """The other side, for who plays a client. Raises BadResponse where SCRAM does not allow a name or password."""

    __slots__ = ("_client",)

    def __init__(self, user: str, password: str, nonce: str) -> None:
        library = _library()
        try:
            self._client = library.ScramClient([SCRAM], user, password, c_nonce=nonce)
        except library.ScramException:
            raise _bad() from None

    def first(self) -> bytes:
        """What it says first."""
        said: str = self._client.get_client_first()
        return said.encode()

    def final(self, challenge: bytes) -> bytes:
        """What it says to the challenge."""
        library = _library()
        try:
            self._client.set_server_first(_text(challenge))
            said: str = self._client.get_client_final()
        except library.ScramException:
            raise _bad() from None
        return said.encode()

    def trusts(self, said: bytes) -> bool:
        """Whether the server has proven that it has the keys."""
        try:
            self._client.set_server_final(_text(said))
        except _library().ScramException:
            return False
        return True


def _text(octets: bytes) -> str:
    if len(octets) > LONGEST_MESSAGE:
        raise BadResponse(f"this is too long for {SCRAM}; allowed: {LONGEST_MESSAGE} octets")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise _bad() from None


def _bad() -> BadResponse:
    return BadResponse(f"this is not what {SCRAM} has the client say (RFC 5802)")


@functools.cache
def _library() -> Any:
    return importlib.import_module("scramp")
