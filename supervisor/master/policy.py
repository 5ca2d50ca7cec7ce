"""When a slot gets its next worker: exponential back-off after deaths at birth. Pure."""

LONGEST_PAUSE_SECONDS = 30.0


def pause_before_birth(deaths_at_birth: int) -> float:
    """Seconds to wait before the next worker sits in a slot, after so many in a row died before they could serve."""
    if deaths_at_birth == 0:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** (deaths_at_birth - 1))
