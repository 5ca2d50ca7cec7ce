"""`pserv` where no thread can be started: who comes has a reply, and an order a reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.test_pserv import PLAIN, Store
from tests.threadless import NO_THREAD

THREADLESS = """
import os, sys, threading
from popular.store.pserv.program import main
start = threading.Thread.start
def refuse(thread):
    if os.path.exists({path!r}):
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refuse
sys.exit(main())
"""
"""pserv that has no thread as long as a file is there."""


@pytest.fixture
def lack(tmp_path: Path) -> Path:
    return tmp_path / "lack"


@pytest.fixture
def store(tmp_path: Path, lack: Path) -> Iterator[Store]:
    with Store(tmp_path, workers=1, python=THREADLESS.format(path=str(lack))) as store:
        yield store


def test_who_comes_has_a_reply_and_an_order_a_reason(store: Store, lack: Path) -> None:
    """At once, and all is served when there are threads again."""
    store.put("joe", PLAIN)
    lack.touch()
    with store.open("joe") as client:
        assert client.greeting.startswith(b"-ERR [SYS/TEMP]")
    refused = store.control("set idletimeout 700")
    assert not refused.ok
    assert NO_THREAD in refused.text
    lack.unlink()
    assert store.control("set idletimeout 700").ok
    with store.open("joe") as client:
        assert client.greeting.startswith(b"+OK")
