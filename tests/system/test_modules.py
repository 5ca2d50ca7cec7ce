"""Modules that hang, crash, are slow, raise errors or answer nonsense, in a real proxy: who needs them is told to come
again, and nobody else notices anything.
"""

import contextlib
import select
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import argon2
import pytest

from popular.pdm.loader import OWN_DIRECTORY
from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, pop3_server, wait_until

MODULES = Path(__file__).parents[1] / "pdm" / "modules"
COME_AGAIN = b"-ERR [SYS/TEMP]"
NO = b"-ERR [AUTH]"
IN = b"+OK"


class OddSite:
    """A proxy with the modules `front` and `back`, which do what their files say. Who is let in has no mail."""

    def __init__(self, directory: Path, kind: str, workers: int = 1) -> None:
        self.directory = directory
        self.kind = kind
        self.port = free_port()
        for name in ("front", "back"):
            self.let(name, "fine")
        self.proxy = Proxy(
            directory,
            [
                "backend conf store state fake",
                "backend conf last state fake",
                f"set pdmdir {MODULES}",
                *(f"pdm add {name} odd {directory}/{name} store {kind}" for name in ("front", "back")),
                "pdm conf front timeout 1s",
                "pdm conf back timeout 1s",
                f"vserv conf v iface {LOOPBACK} port {self.port} state online",
            ],
            workers=workers,
        )

    def let(self, name: str, how: str) -> None:
        """This module does so from now on."""
        (self.directory / name).write_text(how)
        (self.directory / f"{name}.asked").touch()

    def asked(self, name: str) -> int:
        """How often this module was asked."""
        return len((self.directory / f"{name}.asked").read_text())

    def login(self, user: str, password: str = "right") -> bytes:
        """What the proxy says to a login, the first words of it."""
        with PopClient(self.port, patience=patient(30)) as client:
            client.ask(f"USER {user}")
            reply = client.ask(f"PASS {password}")
        return reply.partition(b"]")[0] + b"]" if b"]" in reply else reply.partition(b" ")[0]

    def timed(self, user: str) -> tuple[bytes, float]:
        """What the proxy says to a login, and the seconds that it took."""
        began = time.monotonic()
        return self.login(user), time.monotonic() - began


@pytest.fixture(params=["async", "blocking"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OddSite]:
    made = OddSite(tmp_path, request.param)
    with made.proxy:
        yield made


def test_both_kinds_of_modules_let_in_and_refuse(site: OddSite) -> None:
    """The four answers of a module, as the client hears of them."""
    assert site.login("front-joe") == site.login("back-joe") == IN
    assert site.login("front-joe", "wrong") == site.login("nobody") == NO
    site.let("front", "locked")
    assert site.login("front-joe") == NO
    site.let("front", "cannot")
    assert site.login("front-joe") == COME_AGAIN
    assert site.login("back-joe") == IN


MISBEHAVIOUR = {
    "async": ("down", "error", "wrong", "exit", "hang", "stubborn", "cancelled", "cannot"),
    "blocking": ("down", "error", "wrong", "exit", "hang", "cannot"),
}


@pytest.mark.parametrize(("kind", "how"), [(kind, how) for kind, several in MISBEHAVIOUR.items() for how in several])
def test_whatever_a_module_does_costs_only_those_who_need_it(tmp_path: Path, kind: str, how: str) -> None:
    """Who is found by another one comes in; to all others it is `come again`, never a wrong password, and never the
    fallback backend, which would see a password of theirs. The worker lives, and nothing secret is logged.
    """
    site = OddSite(tmp_path, kind)
    with site.proxy:
        workers = site.proxy.workers()
        site.proxy.said("set fallback last")
        site.let("back", how)
        assert site.login("front-joe") == IN
        assert site.login("back-joe") == COME_AGAIN
        site.let("back", "fine")
        site.let("front", how)
        assert site.login("back-joe", "right") == IN
        assert site.login("back-joe", "secret-word") == COME_AGAIN, "the module in front might have let him in"
        assert site.proxy.workers() == workers
        errors = [entry.fields["module"] for entry in site.proxy.log("module_error")]
        assert sorted(errors) == (["back", "front"] if how in ("error", "exit") and kind == "blocking" else errors)
        assert "secret-word" not in site.proxy.logfile.read_text()


def test_the_breaker_opens_and_closes(site: OddSite) -> None:
    """After so many failures in a row nobody waits, nor is the module asked; then it is tried once, and all is well."""
    site.proxy.said("pdm conf back breaker 3 pause 2s")
    site.let("back", "hang")
    for _ in range(3):
        assert site.timed("back-joe")[1] > 0.9
    asked = site.asked("back")
    for _ in range(5):
        reply, seconds = site.timed("back-joe")
        assert (reply, seconds < 0.5) == (COME_AGAIN, True)
    assert site.asked("back") == asked, "it is not asked"
    given_up = site.proxy.log("module_given_up")
    assert [(entry.level, entry.fields["module"]) for entry in given_up] == [("ADM", "back")]
    site.let("back", "fine")
    wait_until(lambda: site.login("back-joe") == IN, "it is tried again")
    assert [entry.fields["module"] for entry in site.proxy.log("module_back")] == ["back"]


def test_a_cache_spares_the_module(site: OddSite) -> None:
    """A login that comes again is not asked for; another password or user is. A flush forgets."""
    site.proxy.said("pdm conf front cache 1h negative 1h")
    for _ in range(3):
        assert site.login("front-joe") == IN
        assert site.login("front-joe", "wrong") == NO
    assert site.asked("front") == 2
    assert site.login("front-ann") == IN
    assert site.asked("front") == 3
    site.let("front", "locked")
    assert site.login("front-joe") == site.login("front-ann") == IN, "as it was said"
    site.proxy.said("cache flush front-joe")
    assert (site.login("front-joe"), site.login("front-ann")) == (NO, IN)
    site.proxy.said("cache flush default:front-ann")
    assert site.login("front-ann") == NO
    site.let("front", "fine")
    assert site.login("front-ann") == NO
    site.proxy.said("cache flush")
    assert site.login("front-ann") == IN


def test_a_stale_answer_is_used_only_while_the_module_cannot_tell(site: OddSite) -> None:
    """And only if it was one that let the user in, with this password."""
    site.proxy.said("pdm conf front cache 1s negative 1s stale 1h breaker 2 pause 1s")
    assert (site.login("front-joe"), site.login("front-ann", "wrong")) == (IN, NO)
    time.sleep(1.1)
    site.let("front", "down")
    assert site.login("front-joe") == IN
    assert site.login("front-joe", "wrong") == site.login("front-ann", "wrong") == COME_AGAIN
    site.let("front", "locked")
    wait_until(lambda: site.login("front-joe") == NO, "what the module says now counts")


def test_a_shadow_is_asked_and_never_used(site: OddSite) -> None:
    """Its answers are compared; whatever it does, nobody notices."""
    site.proxy.said("pdm conf back shadow on")
    assert (site.login("front-joe"), site.login("back-joe")) == (IN, NO)
    wait_until(lambda: site.asked("back") == 2, "it was asked")
    site.let("back", "hang")
    reply, seconds = site.timed("front-joe")
    assert (reply, seconds < 0.5) == (IN, True)
    wait_until(lambda: site.proxy.log("module_differs"), "it knows somebody whom nobody knows")
    assert site.proxy.json("pdm show back")["conf"]["shadow"] is True


def test_what_was_set_is_shown_and_loads_again(site: OddSite) -> None:
    """`show config` has the terms after the module; bad ones are refused, and nothing is changed."""
    site.proxy.said("pdm conf back timeout 7s allow 192.0.2.0/24:110,[2001:db8::7]:110 like store cache 1m stale 1h")
    lines = [line for line in site.proxy.said("show config").lines if line.startswith("pdm conf back")]
    assert lines == ["pdm conf back timeout 7s cache 1m stale 1h allow 192.0.2.0/24:110,[2001:db8::7]:110 like store"]
    before = site.proxy.said("show config").lines
    for wrong in ("timeout 0s", "timeout", "stil 1h", "allow 192.0.2.0/24", "allow example.org:110", 'cache 0 like ""'):
        assert not site.proxy.control(f"pdm conf back {wrong}").ok
    assert site.proxy.said("show config").lines == before


def test_a_server_that_is_not_configured_is_used_only_where_that_is_allowed(tmp_path: Path) -> None:
    """By the protocol of the backend that it is like, whose counters and name it has; others are `come again`."""
    with (
        ScriptedBackend(pop3_server([b"Subject: 1\r\n\r\n\r\n"])) as elsewhere,
        ScriptedBackend(pop3_server([])) as own,
    ):
        site = OddSite(tmp_path, "async")
        server = f"{LOOPBACK}:{elsewhere.port}"
        with site.proxy:
            site.proxy.said(f"backend conf like host {LOOPBACK} port {own.port} prot POP3 state online")
            (tmp_path / "front").write_text(f"elsewhere {server}")
            assert site.login("front-joe") == COME_AGAIN, "nothing is allowed"
            site.proxy.said(f"pdm conf front allow {LOOPBACK}:{own.port} like like")
            assert site.login("front-joe") == COME_AGAIN, "another port is"
            site.proxy.said(f"pdm conf front allow 192.0.2.0/24:110,127.0.0.0/8:{elsewhere.port}")
            with PopClient(site.port) as client:
                client.ask("USER front-joe")
                assert client.ask("PASS right").startswith(IN)
                assert client.ask("STAT").startswith(b"+OK 1 "), "the mails of that server"
                assert [session["backend"] for session in site.proxy.sessions()] == ["like"]
            for unusable in ("example.org:110", "127.0.0.0/8:110", f"{LOOPBACK}:0", "[::1:110", ":", "a:b:c"):
                (tmp_path / "front").write_text(f"elsewhere {unusable}")
                assert site.login("front-joe") == COME_AGAIN, unusable


def test_who_is_found_in_front_of_a_stalled_module_notices_nothing(site: OddSite) -> None:
    """While fifty wait for one that hangs, others log in as fast as before; and its threads are no longer held when it
    comes back. It is seen in the metrics.
    """
    alone = seconds_of_logins(site, "front-joe")
    site.let("back", "hang")
    site.proxy.said("pdm conf back breaker 0 timeout 3s threads 4")
    with ThreadPoolExecutor(50) as clients:
        waiting = [clients.submit(site.login, "back-joe") for _ in range(50)]
        wait_until(lambda: site.asked("back") > 3, "it is asked")
        beside = seconds_of_logins(site, "front-joe")
        counters = site.proxy.state().counters()
        replies = {future.result() for future in waiting}
    print(f"a login takes {alone * 1000:.1f} ms, and {beside * 1000:.1f} ms beside 50 who wait for a module that hangs")
    assert beside < alone + patient(0.05)
    assert replies == {COME_AGAIN}
    if site.kind == "blocking":
        assert counters["module_threads"] == 4
        assert site.timed("back-joe")[1] < patient(0.5), "all its threads hang, so nobody waits"
    site.let("back", "fine")
    wait_until(lambda: site.login("back-joe") == IN, "it is back")
    wait_until(lambda: site.proxy.state().counters()["module_threads"] == 0, "no thread is held")


def seconds_of_logins(site: OddSite, user: str) -> float:
    """The median of ten."""
    times = []
    for _ in range(10):
        reply, seconds = site.timed(user)
        assert reply == IN
        times.append(seconds)
    return statistics.median(times)


def worst_answer(site: OddSite, user: str) -> float:
    """After how many seconds at worst somebody else is answered, while a hundred log in at once."""
    with contextlib.ExitStack() as stack, PopClient(site.port) as other:
        other.ask("NOOP")
        logging_in = [stack.enter_context(PopClient(site.port, patience=patient(30))) for _ in range(100)]
        for client in logging_in:
            client.ask(f"USER {user}")
        for client in logging_in:
            client.say(b"PASS right\r\n")
        took: list[float] = []
        waiting = set(logging_in)
        while waiting or len(took) < 50:
            began = time.monotonic()
            other.say(b"CAPA\r\n")
            other.block()
            took.append(time.monotonic() - began)
            time.sleep(0.005)
            ready, _, _ = select.select([client.connection for client in waiting], [], [], 0)
            waiting -= {client for client in waiting if client.connection in ready}
        assert {client.line()[:3] for client in logging_in} == {IN}
    return max(took)


def test_many_hashes_at_once_do_not_hold_the_loop(tmp_path: Path) -> None:
    """A hundred logins with argon2 at once: whoever needs no module is answered hardly later than beside as many that
    compute nothing. What others do on the machine makes both late.
    """
    stored = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("right")
    (tmp_path / "users").write_text(f"default:joe:{stored}:store:\n")
    site = OddSite(tmp_path, "async")
    with site.proxy:
        for line in ("pdm flush", f"set pdmdir {OWN_DIRECTORY}", f"pdm add users passwd {tmp_path}/users"):
            site.proxy.said(line)
        for line in (f"set pdmdir {MODULES}", f"pdm add front odd {tmp_path}/front store async", "set maxcommands 0"):
            site.proxy.said(line)
        site.proxy.said("set maxerrors 1000")
        without, hashing = worst_answer(site, "front-joe"), worst_answer(site, "joe")
        print(f"an answer takes {hashing * 1000:.1f} ms at worst, and without hashes {without * 1000:.1f} ms")
        assert hashing < patient(0.25) + 4 * without, "with hashes on the loop it is a second and more"
