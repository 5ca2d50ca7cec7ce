"""A password in memory. It is compiled, because every login makes one; `contract.py` has the same name for modules."""

import hmac
from typing import NoReturn

_MASK = "****"


class Secret:
    """A password. Shows itself only to those who ask by name (`reveal`).

    Its texts are always four stars, whatever its length; it can be neither pickled nor copied nor used as a key.
    """

    __slots__ = ("_octets",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """The octets, as the client typed them or the file has them."""
        return self._octets

    def equals(self, octets: bytes) -> bool:
        """Whether these are the octets, in a time that does not tell how many of them are right."""
        return hmac.compare_digest(self._octets, octets)

    def __eq__(self, other: object) -> bool:
        return self.equals(other.reveal()) if isinstance(other, Secret) else NotImplemented

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, _spec: str) -> str:
        return _MASK

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is neither pickled nor copied")
