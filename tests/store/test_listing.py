"""The listing of a large mailbox: its order, and what it costs others."""

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

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


def test_the_host_of_another_deliverer_is_no_size(tmp_path: Path) -> None:
    """`_SIZE` is believed behind our own names alone: a host may be called mail_1."""
    sizes = {
        "1700000000.V801I1c4d5M20046.mail_1": 7,
        "1700000001.M2P1.mail_1:2,S": 7,
        "1700000002.1-000003-0123abcd_44": 44,
        "945113196.14341_1067": 1067,
    }
    found = Gathered()
    for name in sizes:
        (tmp_path / name).write_bytes(b"12345\r\n")
    folder = os.open(tmp_path, os.O_RDONLY)
    for name in sizes:
        found.add(NEW, folder, name)
    os.close(folder)
    assert {message.name: message.size for message in found.listing().messages} == sizes
