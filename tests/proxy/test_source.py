"""From which of our addresses a backend is connected to."""

import socket

import pytest

from popular.proxy.settings.backend import placed_at
from supervisor.control.words import CommandRefused
from supervisor.system import dial
from tests.proxy.console import Console

REFUSED = r"source: ::1 cannot reach 127\.0\.0\.1"


@pytest.mark.parametrize(
    ("host", "source"), [("127.0.0.1", "127.0.0.9"), ("127.0.0.1", ""), ("::1", "::1"), ("::1", "")]
)
def test_it_is_taken(host: str, source: str) -> None:
    """Bound before the connection is made; without one the system chooses."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.socket(fileno=dial(host, server.getsockname()[1], source)) as connection,
    ):
        accepted, peer = server.accept()
        accepted.close()
        assert peer[0] == (source or host)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_not_ours_is_said_to_be_none() -> None:
    """As the system says it; no descriptor is left."""
    with pytest.raises(OSError, match="assign requested address"):
        dial("127.0.0.1", 1, "192.0.2.77")


@pytest.mark.parametrize("word", ["localhost", "0.0.0.0", "::", "127.0.0.1:5", "x"])
def test_only_an_address_is_one(word: str) -> None:
    """A name could become another one behind our back."""
    with pytest.raises(CommandRefused, match="allowed: an IPv4 or IPv6 address of this host"):
        Console().say(f"backend conf b host 127.0.0.1 source {word}")


def test_one_that_is_not_ours_yet_is_taken_with_a_note() -> None:
    """It may come with the network, or from another proxy; or it was mistyped."""
    console = Console()
    told = console.say("backend conf b host 127.0.0.1 source 192.0.2.77").text
    assert "source: 192.0.2.77 is none of this host's addresses now" in told
    assert console.config.things["backend"]["b"].source == "192.0.2.77"
    assert "source" not in console.say("backend conf b source 127.0.0.9").text


def test_it_has_to_fit_the_host_whichever_is_said_first() -> None:
    """Nothing is changed by what does not."""
    console = Console()
    with pytest.raises(CommandRefused, match=REFUSED):
        console.say("backend conf b host 127.0.0.1 source ::1")
    console.say("backend conf b source ::1")
    with pytest.raises(CommandRefused, match=REFUSED):
        console.say("backend conf b host 127.0.0.1")
    console.say("backend conf b host ::1")
    console.say('backend conf b host 127.0.0.1 source ""')


def test_a_server_that_a_route_names_is_reached_from_it_if_it_can_be() -> None:
    """Else from wherever the system likes: the route is right, and the backend's address no good for it."""
    console = Console()
    console.say("backend conf b host 127.0.0.1 source 127.0.0.9")
    backend = console.config.things["backend"]["b"]
    for address, source in (("127.0.0.5", "127.0.0.9"), ("::1", "")):
        placed = placed_at((address, 110), backend)
        assert placed is not None
        assert placed.source == source
