"""Decoys: what is spent on a name that a list of users does not have, so that the time of an answer does not tell."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate

from popular.pdm import passwords


class Decoys:
    """One stored password of each form in a list, drawn as often as the list has it; a name draws always the same.

    `forms`: how many users have each form; `samples`: one of their stored passwords. Every worker has the same decoys.
    """

    __slots__ = ("_samples", "_seed", "_up_to", "_users")

    def __init__(self, forms: Mapping[str, int], samples: Mapping[str, str], *, users: int, path: str) -> None:
        usable = sorted(forms.keys() - {passwords.LOCKED})
        self._samples = [samples[form] for form in usable]
        self._up_to = list(accumulate(forms[form] for form in usable))
        self._users = users
        # A stranger does not know the salts, and every worker does: a name has the same decoy in all of them.
        self._seed = blake2b("".join([path, *self._samples]).encode(errors="surrogatepass")).digest()

    def drawn(self, key: bytes) -> str | None:
        """Some user's stored password; None if there is no verifiable one. `key` stands for the name."""
        return self.at(self._numbers(key)[0])

    def at(self, place: int) -> str | None:
        """Some user's stored password, drawn by a number of 64 bits, which stands for the name. Its form depends only
        on how many users have each form, not on the samples.
        """
        return self._samples[bisect_right(self._up_to, place * self._up_to[-1] >> 64)] if self._samples else None

    def rank(self, key: bytes) -> float | None:
        """Which list's decoy is used for a name: that with the lowest rank wins. None if this one has no decoy.

        A list wins as often as it has users: its ranks are spread exponentially, at that rate.
        """
        if not self._samples:
            return None
        _place, chance = self._numbers(key)
        return -math.log((chance + 1) / (1 << 64)) / self._users

    def _numbers(self, key: bytes) -> tuple[int, int]:
        """Two numbers of 64 bits that only those can tell who know the seed: always the same for one name."""
        drawn = blake2b(key, digest_size=16, key=self._seed).digest()
        return int.from_bytes(drawn[:8]), int.from_bytes(drawn[8:])
