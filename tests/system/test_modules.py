"""Modules that hang, crash, are slow, raise errors or answer nonsense, in a real proxy: who needs them is told to come
again, and nobody else notices anything.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.site import LOOPBACK, PopClient, Proxy, free_port

MODULES = Path(__file__).parents[1] / "pdm" / "modules"
COME_AGAIN = b"-ERR [SYS/TEMP]"
NO = b"-ERR [AUTH]"
IN = b"+OK"


class OddSite:
    """A proxy with the modules `front` and `back`, which do what their files say. Who is let in has no mail."""

    def __init__(self, directory: Path, kind: str, workers: int = 1) -> None:
        self.directory = directory
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
        with PopClient(self.port) as client:
            client.ask(f"USER {user}")
            reply = client.ask(f"PASS {password}")
        return reply.partition(b"]")[0] + b"]" if b"]" in reply else reply.partition(b" ")[0]

    def timed(self, user: str) -> tuple[bytes, float]:
        """The same, and the seconds that it took."""
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
