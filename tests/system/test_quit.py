"""QUIT through a real proxy: who says it has his answer, whatever time is over; who only seems to say it is cut."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.patience import patient
from tests.system.site import wait_until
from tests.system.test_operating import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("quit"))
    with made.stores[0].backend, made.stores[1].backend, made.proxy:
        yield made


def test_sessiontimeout_does_not_cut_between_quit_and_its_answer(site: Site) -> None:
    """Who has not said it is cut at that time."""
    store, proxy = site.stores[0], site.proxy
    proxy.said(f"set sessiontimeout {patient(2):.0f}s")
    with ExitStack() as stack:
        quits, stays = (site.log_in(stack, name) for name in ("ann", "bob"))
        store.goes_on.clear()
        quits.say(b"DELE 1\r\n\tQUIT\r\n")
        assert quits.line() == b"+OK"
        assert stays.rest() == b""
        time.sleep(1.5)  # whose own time was over before, by the clock; and now by the wheel of his worker too
        store.goes_on.set()
        assert quits.rest() == b"+OK bye\r\n"
    assert proxy.wait_for_endings(2) == ["session_timeout", "quit"]
    proxy.said("set sessiontimeout 0s")


def test_what_is_no_quit_keeps_nobody_from_being_kicked(site: Site) -> None:
    """Neither a word that begins so, nor half a line behind deletes."""
    with ExitStack() as stack:
        clients = [site.log_in(stack, name) for name in ("eve", "joe")]
        for client, said in zip(clients, (b"QUITX\r\n", b"DELE 1\r\n"), strict=True):
            client.say(said)
            assert client.line() == b"+OK"
        clients[1].say(b"N")
        site.proxy.said("kick backend one deadline 0s")
        assert [client.rest() for client in clients] == [b"", b""]
        wait_until(lambda: not site.proxy.json("kick list"), "nobody is left")
