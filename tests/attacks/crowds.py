"""Attacks by many connections of one address, and what others then wait."""

import contextlib
import functools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

from tests.attacks.strangers import Findings
from tests.patience import patient
from tests.system import test_victims as victims
from tests.system.site import LOOPBACK, PopClient, Proxy, ScriptedBackend, free_port, pop3_server, wait_until
from tests.system.test_victims import crowd, log_in, noise, seconds_of, silent_crowd, trickle

SESSIONS = 1000
GREETED_WITHIN = 1.0
"""Seconds, where nobody else uses the machine."""


def said(times: list[float]) -> str:
    return f"median {statistics.median(times) * 1000:.0f} ms, at most {max(times) * 1000:.0f} ms of {len(times)}"


def site(port: int, *more: str) -> list[str]:
    """Everybody has an empty mailbox."""
    vserv = f"vserv conf v iface {LOOPBACK} port {port} state online"
    return ["backend conf b state fake", "pdm add all any b", *more, vserv]


def hang_up_behind_pass(directory: Path) -> Findings:
    """B1: logins of one address at a module that takes as long as an expensive hash."""
    for local in (False, True):
        here = directory / f"local{local}"
        here.mkdir()
        module = victims._SLOW_MODULE.replace("SECONDS", "0.08").replace("LOCAL", str(local))
        (here / "libpdm_slow.py").write_text(module)
        port = free_port()
        rc = ["pdm add slow slow" if line.startswith("pdm") else line for line in site(port)]
        with Proxy(here, [f"set pdmdir {here}", *rc], workers=2) as proxy:
            login = functools.partial(log_in, port, "ann")
            alone = [seconds_of(login) for _ in range(5)]
            before, began = _dropped(proxy), time.monotonic()
            with crowd(64, functools.partial(victims._asks, port, "127.0.0.2", False)):
                time.sleep(3)
                waits = [seconds_of(login) for _ in range(20)]
                rate = (_dropped(proxy) - before) / (time.monotonic() - began)
            kind = "computes" if local else "waits"
            yield (
                (
                    f"{rate:.0f} logins/s of one address that hang up, a module that {kind} for 0.08 s: a login from "
                    f"elsewhere {said(waits)}; alone {said(alone)}"
                ),
                statistics.median(waits) < 1,
            )


def _dropped(proxy: Proxy) -> int:
    dropped = proxy.state().counters()["module_questions_dropped"]
    assert isinstance(dropped, dict)
    return sum(dropped.values())


def say_nothing(directory: Path) -> Findings:
    """B2: every session is taken by connections that say nothing, or seem busy."""
    kinds: dict[str, tuple[bytes, ...]] = {
        "silent": (b"",),
        "trickling an octet twice a second": (b"U", b"S", b"E", b"R"),
        "saying CAPA twice a second": (b"CAPA\r\n",),
    }
    for number, (kind, pieces) in enumerate(kinds.items()):
        here = directory / str(number)
        here.mkdir()
        port = free_port()
        with (
            Proxy(here, site(port, "set maxcommands 0"), options=["-n", str(SESSIONS)]) as proxy,
            silent_crowd(port, "127.0.0.2", SESSIONS) as those,
            trickle(those, pieces),
            contextlib.ExitStack() as clients,
        ):
            wait_until(lambda here=proxy: len(here.state().sessions()) == SESSIONS, "all are taken")
            time.sleep(3.5)
            waits = [
                seconds_of(functools.partial(victims._greeted, clients, client))
                for client in (PopClient(port) for _ in range(10))
            ]
            yield f"{SESSIONS} connections, {kind}: a new client is greeted: {said(waits)}", max(waits) < GREETED_WITHIN


def say_too_much(directory: Path) -> Findings:
    """B3: 300 connections that say CAPA without end: those whom maxcommands ends come back, or nothing ends them."""
    for most, what in (("0", "which nothing ends"), ("50", "which are ended, and come back")):
        here = directory / most
        here.mkdir()
        port = free_port()
        with Proxy(here, site(port, f"set maxcommands {most}"), workers=1):
            login = functools.partial(log_in, port, "ann")
            alone = [seconds_of(login) for _ in range(20)]
            over = multiprocessing.Event()
            strangers = multiprocessing.Process(target=_make_noise, args=(port, over), daemon=True)
            strangers.start()  # in a process of their own, or the victim would wait for them and not for the proxy
            try:
                time.sleep(2)
                waits = [seconds_of(login) for _ in range(40)]
            finally:
                over.set()
                strangers.join(patient(30))
        yield (
            (f"300 connections that say CAPA, {what}: a login {said(waits)}; alone {said(alone)}"),
            statistics.median(waits) < 1,
        )


def _make_noise(port: int, over: Event) -> None:
    with noise(port, b"CAPA\r\n" * 500):
        over.wait(patient(120))


def hang(directory: Path) -> Findings:
    """B4: stores that take the connection and say nothing, at maxsession 1000; crowds of their users."""
    for hanging, good in ((1, 1), (4, 2)):
        here = directory / str(hanging)
        here.mkdir()
        port = free_port()
        with contextlib.ExitStack() as stores:
            fine = stores.enter_context(ScriptedBackend(pop3_server([])))
            hung = stores.enter_context(ScriptedBackend(victims._silent))
            backends = {f"hung{number}": hung for number in range(hanging)}
            backends |= {f"good{number}": fine for number in range(good)}
            (here / "users").write_text("".join(f"default:{name}:{{PLAIN}}secret:{name}:\n" for name in backends))
            rc = [
                *(f"backend conf {name} host {LOOPBACK} port {at.port} state online" for name, at in backends.items()),
                f"pdm add users passwd {here / 'users'}",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ]
            with Proxy(here, rc, options=["-n", str(SESSIONS)]) as proxy, _users_of_the_hung(port, hanging):
                waits = [seconds_of(functools.partial(log_in, port, f"good{number % good}")) for number in range(100)]
                waiting = proxy.state().counters()["backends_waiting"]
                proxy.said("shutdown all")
            those = f"{hanging} of {hanging + good} stores hang, {waiting} of {SESSIONS} sessions wait for them"
            yield f"{those}: users of the others log in: {said(waits)}", max(waits) < 1


@contextlib.contextmanager
def _users_of_the_hung(port: int, hanging: int) -> Iterator[None]:
    """As many as would take every session."""
    with contextlib.ExitStack() as clients:
        for number in range(SESSIONS - 50):
            client = clients.enter_context(PopClient(port))
            client.greeted()
            client.say(f"USER hung{number % hanging}\r\nPASS secret\r\n".encode())
        yield


ATTACKS: dict[str, Callable[[Path], Findings]] = {
    "B1": hang_up_behind_pass,
    "B2": say_nothing,
    "B3": say_too_much,
    "B4": hang,
}
