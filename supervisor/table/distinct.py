"""How many different ones there were: an estimate in a few octets, however many come, and however often. Pure.

    note(registers, digest)    one of them; whoever comes again changes nothing
    estimate(registers)        how many there were

HyperLogLog (Flajolet and others, 2007): a digest of 64 bits chooses a register, and the register keeps the longest run
of zeros that its other bits began with. The estimate is Ertl's (arXiv:1702.01284, section 4), which needs no table of
corrections and is as good for ten as for a hundred thousand. The standard error is 1.04 / √REGISTERS, 3.3 %.

The digest has to be keyed: who knew it could choose names that fill the registers.
"""

import math
from collections import Counter
from typing import Any

_INDEX_BITS = 10
REGISTERS = 1 << _INDEX_BITS
"""Octets of one estimate."""
_RANK_BITS = 64 - _INDEX_BITS
_MOST = _RANK_BITS + 1
"""What a register can hold."""
_FACTOR = REGISTERS * REGISTERS / (2 * math.log(2))


def note(registers: Any, digest: int) -> None:
    """`registers`: so many octets that can be written; `digest`: of 64 bits.

    Several processes may do so at once, without a lock: each writes one octet, which only grows. Where two write the
    same one at the same moment the smaller may stay: then one is missing, until he comes again.
    """
    register, bits = digest & (REGISTERS - 1), digest >> _INDEX_BITS
    rank = _MOST - bits.bit_length()
    if registers[register] < rank:
        registers[register] = rank


def estimate(registers: bytes | bytearray) -> int:
    """How many different ones were noted, about; 0 is exact. What no `note` has written counts as its most."""
    if not any(registers):
        return 0
    counts = Counter(min(rank, _MOST) for rank in registers)
    total = 0.0
    for rank in range(_MOST, 0, -1):
        total = 0.5 * (total + counts[rank])
    total += REGISTERS * _blanks(counts[0] / REGISTERS)
    return max(1, round(_FACTOR / total))


def _blanks(share: float) -> float:
    """What the registers tell that are still blank (σ in the paper)."""
    if share == 1.0:
        return math.inf
    total, weight = share, 1.0
    while True:
        share *= share
        before = total
        total += share * weight
        weight += weight
        if total == before:
            return total
