"""The listing of a large mailbox: its order, and what it costs others."""

import random
import threading
import time
from collections.abc import Callable

from popular.store.maildir.listing import NEW, Gathered


def gathered(count: int) -> Gathered:
    """So many messages, found in no order."""
    found = Gathered()
    seconds = list(range(count))
    random.Random(7).shuffle(seconds)
    for second in seconds:
        found.add(NEW, -1, f"{second}.1-000000-00000000_10")
    return found


def test_a_large_mailbox_is_listed_oldest_first() -> None:
    """However many parts it is sorted in."""
    for count in (0, 1, 4_095, 4_096, 4_097, 20_000):
        names = [message.name for message in gathered(count).listing().messages]
        assert names == [f"{second}.1-000000-00000000_10" for second in range(count)]


def test_sorting_a_large_mailbox_lets_other_threads_go_on() -> None:
    """The event loop has its turns meanwhile: one sort of all kept it out for nearly as long as the listing took."""
    found = gathered(100_000)
    parts = [longest_part(found.listing) for _ in range(5)]
    assert min(parts) < 1 / 3, "the best of five: others may keep us out too"


def longest_part(deed: Callable[[], object]) -> float:
    """The longest time for which this thread had no turn while another one does something, as a part of all of it."""
    done = threading.Event()

    def do() -> None:
        deed()
        done.set()

    doing = threading.Thread(target=do)
    begun = before = time.monotonic()
    doing.start()
    longest = 0.0
    while not done.is_set():
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    longest = max(longest, time.monotonic() - before)
    doing.join()
    return longest / (time.monotonic() - begun)
