"""The public keys of an identity provider (JWKS, RFC 7517), as they were last read: fetched anew now and then, and when
a token names one that is not known.

Anybody can name a key that there is not; so for that they are fetched once a minute at most, and all who wait for it
wait for the same answer. While the provider is away, what was read counts on for a day; whether a key that is not among
them is a new one nobody can tell then.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias

from popular.pdm.contract import ModuleFailed, QuestionFailed

REFRESH_SECONDS = 3600.0
UNKNOWN_SECONDS = 60.0
"""So often at most they are fetched because of a key that is not known."""
KEPT_SECONDS = 86_400.0
_MOST_KEYS = 100

Jwk: TypeAlias = Mapping[str, Any]

_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The kind of key (`kty`), by the first letters of the algorithm."""


class KeySet:
    """One provider's. For one event loop."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]] | None, *, clock: Callable[[], float] = monotonic) -> None:
        """`fetch` gives the set as it is now, or raises ModuleFailed. Without it the keys stay as they are."""
        self._fetch = fetch
        self._clock = clock
        self._keys: Sequence[Jwk] = ()
        self._read_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._why_not_read = ""
        """Why the last attempt to fetch them failed, if it did."""

    @classmethod
    def fixed(cls, octets: bytes) -> "KeySet":
        """The keys in a file, which are never fetched anew. Raises ModuleFailed."""
        made = cls(None)
        made._keys = keys_in(octets)
        return made

    async def find(self, kid: str | None, algorithm: str) -> Jwk | None:
        """The key with this id, or the only one that fits; None if there is none. Raises ModuleFailed; QuestionFailed
        where it may be one that could not be fetched.
        """
        if self._fetch is None:
            return _found(self._keys, kid, algorithm)
        age = self._clock() - self._read_at
        if age > KEPT_SECONDS:
            await self._renewed()
        elif age > REFRESH_SECONDS and self._may_try():
            self._begin()
        key = _found(self._keys, kid, algorithm)
        if key is None and (self._is_fetching() or self._may_try()):
            with suppress(ModuleFailed):  # told below, and for as long as nobody may try again
                await self._renewed()
            key = _found(self._keys, kid, algorithm)
        if key is None and self._why_not_read:
            raise QuestionFailed(f"its key is not known, and the keys could not be fetched: {self._why_not_read}")
        return key

    def _may_try(self) -> bool:
        return self._clock() - self._tried_at >= UNKNOWN_SECONDS

    def _is_fetching(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    def _begin(self) -> "asyncio.Task[None]":
        if self._fetching is None or self._fetching.done():
            self._tried_at = self._clock()
            self._fetching = asyncio.get_running_loop().create_task(self._read())
            self._fetching.add_done_callback(_seen)
        return self._fetching

    async def _renewed(self) -> None:
        """Who gives up waiting does not end it for the others."""
        await asyncio.shield(self._begin())

    async def _read(self) -> None:
        assert self._fetch is not None
        try:
            self._keys = keys_in(await self._fetch())
        except ModuleFailed as error:
            self._why_not_read = str(error)
            raise
        self._why_not_read = ""
        self._read_at = self._clock()

    def close(self) -> None:
        """Nobody asks any more."""
        if self._fetching is not None:
            self._fetching.cancel()


def _seen(task: "asyncio.Task[None]") -> None:
    """An error that nobody waits for is none to be told."""
    if not task.cancelled():
        task.exception()


def keys_in(octets: bytes) -> Sequence[Jwk]:
    """The keys of a set that may verify a signature. Raises ModuleFailed."""
    try:
        said = json.loads(octets)
    except (ValueError, RecursionError):
        raise ModuleFailed("the set of keys is no JSON") from None
    listed = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise ModuleFailed(f"the set of keys has no list `keys` of {_MOST_KEYS} at most")
    keys = [key for key in listed if isinstance(key, dict) and key.get("kty") in _FAMILIES.values()]
    signing = [key for key in keys if key.get("use", "sig") == "sig" and _may_verify(key.get("key_ops"))]
    if not signing:
        raise ModuleFailed("the set of keys has none that verifies a signature")
    return signing


def _may_verify(operations: object) -> bool:
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def _found(keys: Sequence[Jwk], kid: str | None, algorithm: str) -> Jwk | None:
    fit = [
        key
        for key in keys
        if key["kty"] == _FAMILIES[algorithm[:2]]
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    return fit[0] if len(fit) == 1 or (fit and kid is not None) else None
