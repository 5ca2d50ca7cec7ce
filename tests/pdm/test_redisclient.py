"""Where a server of Redis or Valkey is, by its URL."""

import asyncio

import pytest

from popular.pdm.contract import ModuleFailed, Question, Secret
from popular.pdm.libpdm_redis import open_module
from popular.pdm.redisclient import CLUSTER, SENTINEL, Connected, place_of
from tests.system.wire import LOOPBACK, free_port


@pytest.mark.parametrize(
    ("url", "form", "master", "path"),
    [
        ("redis://h:1/2", "", "", "/2"),
        ("rediss://u@h", "", "", ""),
        ("unix:/run/redis", "", "", "/run/redis"),
        ("redis+sentinel://a:1,b/mail", SENTINEL, "mail", "/0"),
        ("rediss+sentinel://a/mail/3", SENTINEL, "mail", "/3"),
        ("redis+cluster://u@h:7000", CLUSTER, "", ""),
    ],
)
def test_a_place(url: str, form: str, master: str, path: str) -> None:
    """Each form, and a client for it, which connects to nobody yet."""
    place = place_of(url)
    assert (place.form, place.master, place.parts.path) == (form, master, path)
    assert place.parts.scheme in ("redis", "rediss", "unix")
    assert Connected(place, {"socket_timeout": 1.0}).client is not None
    assert Connected(place, {"socket_timeout": 1.0}, password=lambda: "hidden").client is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis:",
        "redis+proxy://h",
        "unix+cluster:/run/redis",
        "redis+sentinel://h",
        "redis+sentinel://h/mail/x",
        "redis+sentinel://h/mail/0/1",
        "redis+sentinel://h:1,g:x/mail",
        "redis+cluster://h:99999",
        "redis://127.0.0.1:x",
        "redis://h:0",
        "redis://h/mail",
        "redis:///0",
        "redis://h/0?foo=bar",
        "unix:/run/redis?db=x",
        "redis://h/0#",
    ],
)
def test_no_place(url: str) -> None:
    """It is said what is allowed."""
    with pytest.raises(ModuleFailed, match=r"allowed|NAME"):
        place_of(url)


@pytest.mark.parametrize(
    ("host", "told"), [(LOOPBACK, "ConnectionError: Error 111 "), ("no.host.invalid", "ConnectionError: Error -2 ")]
)
def test_why_a_server_cannot_be_asked_is_told(host: str, told: str) -> None:
    """Nobody listens, or there is no such host."""
    module = open_module("m", [f"redis://{host}:{free_port()}", "backend", "b"])

    async def why() -> str:
        await module.ready()
        with pytest.raises(ModuleFailed) as failed:
            await module.check(Question("192.0.2.1", "POP3", "default", "joe", Secret(b"joe"), "v"))
        await module.close()
        return str(failed.value)

    assert told in asyncio.run(why())
