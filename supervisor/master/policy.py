"""Deaths of workers: what each is called, and when the slot gets its next worker. Pure."""

import signal

from supervisor.workerline import ENDING_SIGNALS, code_of_end

LONGEST_PAUSE_SECONDS = 30.0
_OBEYED = {code_of_end(number): int(number) for number in ENDING_SIGNALS}


def pause_before_birth(deaths_at_birth: int) -> float:
    """Seconds to wait before the next worker sits in a slot, after so many in a row died before they could serve.

    Exponential back-off.
    """
    if deaths_at_birth == 0:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** (deaths_at_birth - 1))


def cause_of_death(code: int) -> str:
    """For the log: `code` is the exit code, or the negative number of the signal."""
    number = _signal_of(code)
    if number is None:
        return f"exit {code}"
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals have no names
        return f"signal {number}"


def _signal_of(code: int) -> int | None:
    """Which one has ended it, whether it could obey or not."""
    return -code if code < 0 else _OBEYED.get(code)


def kind_of_death(code: int, *, hung: bool, dismissed: bool) -> str:
    """For the counter: few words, where the log tells more."""
    if hung:
        return "hung"
    if dismissed:
        return "asked"
    return "exit" if _signal_of(code) is None else "signal"
