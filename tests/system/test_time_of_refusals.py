"""Who is unknown, who has a wrong password and who is locked hear the same, as soon, step by step, however they try.

The three take turns, thirty times each, over one session of a real proxy; what is compared are the medians. Where
several modules are asked they wait for each other (`refusal_times.py`).
"""

import itertools
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popular.proxy.session.explain.dialogues import DIALOGUES
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port
from tests.system.test_modules import MODULES
from tests.system.test_sasl_clients import KEYS, PASSWORD
from tests.system.wire import Conversation

WRONG = b"-ERR [AUTH] the user name or the password is wrong"
TRIES = 30
HELD_TRIES = 20
"""Where several modules are asked, and each try takes half a second."""
USERS = ("unknown", "joe", "locked")
NOISE_SECONDS = 0.001
"""However little tries differ; a decoy that is missing makes it more than two milliseconds."""
HASH = "$5$saltsaltsaltsalt$" + 43 * "?"
"""A question mark stands for the first letter of the user's name."""
Times = dict[str, list[list[float]]]
"""By user: for each try, how long each of its replies was waited for."""


class RefusingSite:
    """A proxy whose users have passwords that are stored like this one."""

    def __init__(self, directory: Path, stored: str) -> None:
        self._directory, self._stored = directory, stored
        self.port = free_port()
        rc = [
            f"backend conf b1 host {LOOPBACK} port 1 state fake",
            f"pdm add users passwd {self._users('users', ('joe', 'ann'))}",
            "set maxfailures 1000",
            "set maxcommands 0",
            "set authtimeout 10m",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default apop on "
            "mechanisms user,scram-sha-256,cram-md5 state online",
        ]
        self.proxy = Proxy(directory, rc, workers=1)

    def _users(self, name: str, known: tuple[str, ...]) -> Path:
        path = self._directory / name
        path.write_text("".join(f"default:{user}:{self._stored.replace('?', user[0])}:b1:\n" for user in known))
        with path.open("a") as file:
            file.write("default:locked:!:b1:\n")
        return path

    def add_slow_module(self, backend: str = "b1") -> None:
        """One after the other that takes a tenth of a second for each question, and has one user."""
        (self._directory / "back").write_text("slow")
        (self._directory / "back.asked").touch()
        self.proxy.said(f"set pdmdir {MODULES}")
        self.proxy.said(f"pdm add back odd {self._directory}/back {backend} keyed")

    def add_module(self) -> None:
        """One more, after the other, that knows others."""
        self.proxy.said(f"pdm add others passwd {self._users('others', ('eve', 'bob', 'eva', 'uma'))}")


def times_of_refusals(site: RefusingSite, way: str, users: tuple[str, ...] = USERS, *, tries: int = TRIES) -> Times:
    """All of them, in turn."""
    times: Times = {user: [] for user in users}
    with PopClient(site.port) as client:
        greeting = client.greeted()
        for number in range(tries):
            for user, taken in times.items():
                taken.append(_refused(client, way, user, secret=b"wrong-%d" % number, greeting=greeting))
    return times


def _refused(client: Conversation, way: str, user: str, *, secret: bytes, greeting: bytes) -> list[float]:
    """How long each reply was waited for, to the refusal."""
    dialogue = DIALOGUES[way].speak(user.encode(), secret, greeting)
    line, waited = next(dialogue), list[float]()
    while True:
        began = time.monotonic()
        client.say(line + b"\r\n")
        reply = client.line()
        waited.append(time.monotonic() - began)
        if reply.startswith(b"-ERR"):
            assert reply == WRONG
            return waited
        line = dialogue.send(reply)


def assert_alike(way: str, times: Times) -> str:
    """As many replies, and each as soon, as far as can be told from so many tries; gives the medians as text."""
    steps = {len(waited) for taken in times.values() for waited in taken}
    assert len(steps) == 1, "as many replies for everybody"
    shown = []
    for step in range(steps.pop()):
        seconds = {user: [waited[step] for waited in taken] for user, taken in times.items()}
        for one, other in itertools.combinations(seconds, 2):
            apart, doubt = _difference(seconds[one], seconds[other])
            assert abs(apart) <= max(doubt, NOISE_SECONDS), f"{way}, reply {step + 1}: {one} waits {apart:.5f} s longer"
        shown.append(" ".join(f"{1000 * statistics.median(each):.2f}" for each in seconds.values()))
    return f"{way} {' then '.join(shown)} ms"


def _difference(one: list[float], other: list[float]) -> tuple[float, float]:
    """By how much the one is longer, and four times the error of that: of tries that were made one after the other, so
    that what else the machine does is in both, and by medians, so that what it does once is in neither.
    """
    apart = [first - second for first, second in zip(one, other, strict=True)]
    median = statistics.median(apart)
    deviation = 1.48 * statistics.median(abs(each - median) for each in apart)
    return median, 4 * 1.25 * deviation / math.sqrt(len(apart))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RefusingSite]:
    """With passwords in clear, by which a client can be told right from wrong whatever it shows."""
    made = RefusingSite(tmp_path_factory.mktemp("refusals"), "{PLAIN}?-secret")
    with made.proxy:
        yield made


@pytest.mark.parametrize("way", ["USER", "SCRAM-SHA-256", "CRAM-MD5", "APOP"])
def test_unknown_wrong_and_locked_take_as_long(
    site: RefusingSite, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With SCRAM the challenge already costs what keys cost."""
    shown = assert_alike(way, times_of_refusals(site, way))
    with capsys.disabled():
        print(f"\n{', '.join(USERS)}: {shown}")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("stored", "ways"), [(HASH, ["USER"]), (KEYS, ["USER", "SCRAM-SHA-256"])], ids=["hash", "keys"]
)
def test_they_take_as_long_where_it_takes_long(
    stored: str, ways: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With hashes that cost what hashes cost, in one module, and in two of which the second knows nobody of them."""
    site = RefusingSite(tmp_path, stored)
    with site.proxy:
        one = [assert_alike(way, times_of_refusals(site, way)) for way in ways]
        site.add_module()
        two = [assert_alike(way, times_of_refusals(site, way, tries=HELD_TRIES)) for way in ways]
    with capsys.disabled():
        print(f"\n{', '.join(USERS)}: one module: {', '.join(one)}; two: {', '.join(two)}")


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["USER", "SCRAM-SHA-256"])
def test_they_take_as_long_where_modules_are_unlike(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whom the quick module in front knows waits as long as who is unknown, from the first try on, or known to the slow
    one after it. With SCRAM the challenges wait, too. Who is right waits for nothing.
    """
    site = RefusingSite(tmp_path, KEYS)
    users = USERS if way == "SCRAM-SHA-256" else (*USERS, "backer")
    with site.proxy:
        site.add_slow_module()
        times = times_of_refusals(site, way, users, tries=HELD_TRIES)
        with PopClient(site.port) as client:
            client.greeted()
            began = time.monotonic()
            client.say(b"USER joe\r\nPASS %s\r\n" % PASSWORD.encode())
            assert [client.line()[:3] for _ in range(2)] == 2 * [b"+OK"]
            right = time.monotonic() - began
    with capsys.disabled():
        print(f"\n{', '.join(users)}: {assert_alike(way, times)}; who is right {1000 * right:.2f} ms")
    assert right < 0.5 * min(taken[-1][-1] for taken in times.values())
