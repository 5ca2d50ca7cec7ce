"""Deaths of workers: what each is called, and when the slot gets its next worker. Pure."""

import signal

LONGEST_PAUSE_SECONDS = 30.0


def pause_before_birth(deaths_at_birth: int) -> float:
    """Seconds to wait before the next worker sits in a slot, after so many in a row died before they could serve.

    Exponential back-off.
    """
    if deaths_at_birth == 0:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** (deaths_at_birth - 1))


def cause_of_death(code: int) -> str:
    """For the log: `code` is the exit code, or the negative number of the signal."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # the real-time signals have no names
        return f"signal {-code}"


def kind_of_death(code: int, *, hung: bool, dismissed: bool) -> str:
    """For the counter: few words, where the log tells more."""
    if hung:
        return "hung"
    if dismissed:
        return "asked"
    return "exit" if code >= 0 else "signal"
