"""What `pdm add` refuses of a module's words, before anybody is asked about."""

import pytest

from popular.pdm.contract import ModuleFailed
from popular.pdm.loader import OWN_DIRECTORY, load

BASE = ("base", "dc=x", "backend", "store1")
QUERY = ("query", "SELECT pw FROM users WHERE name = :user")
OF_URL = {
    "ldap": ("ldap://{}", *BASE),
    "ldap, the second": ("ldap://127.0.0.1,ldap://{}", *BASE),
    "redis": ("redis://{}/0",),
    "http": ("http://{}/auth",),
    "oauth2": ("jwks", "https://{}/keys", "issuer", "i", "audience", "a", "backend", "store1"),
    "oauth2, by asking": ("introspect", "https://{}/ask", "clientid", "c", "passwordfile", "/x", "backend", "store1"),
    "sql": ("postgresql://{}/mail", *QUERY),
    "sql, the other": ("mysql://{}/mail", *QUERY),
}
"""Every module that is given a URL, with a place for what is wrong in it."""


def refused(module: str, *words: str) -> str:
    """What is said of it."""
    with pytest.raises(ModuleFailed) as told:
        load(OWN_DIRECTORY, module.partition(",")[0], "m", arguments=words)
    return str(told.value)


@pytest.mark.parametrize("module", OF_URL)
def test_a_url_with_a_password_is_refused_without_showing_it(module: str) -> None:
    """Commands are logged, and shown."""
    text = refused(module, *(word.format("u:SECRET1@127.0.0.1") for word in OF_URL[module]))
    assert "SECRET1" not in text
    assert "passwordfile FILE" in text


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("ldap", ("ldap://127.0.0.1", *BASE, "filter", "(mail=joe)")),
        ("ldap", ("ldap://127.0.0.1", *BASE, "filter", "(mail=%%u@%d)")),
        ("ldap", ("ldap://127.0.0.1", "binduser", "cn=joe", "backend", "store1")),
        ("redis", ("redis://127.0.0.1/0", "key", "users")),
        ("redis", ("redis://127.0.0.1/0", "key", "users:%d")),
        ("sql", ("sqlite:" + __file__, "query", "SELECT 1")),
    ],
)
def test_what_asks_for_no_user_would_let_in_everybody_as_one(module: str, words: tuple[str, ...]) -> None:
    assert "no user: it needs" in refused(module, *words)


WITHOUT_HOST = ("", ":110")
LIBPQ = [module for module, words in OF_URL.items() if words[0].startswith("postgresql")]
"""It has a host of its own."""


@pytest.mark.parametrize(
    ("module", "place"),
    [
        (module, place)
        for module in OF_URL
        for place in (*WITHOUT_HOST, "h:abc", "h:99999", "h:0")
        if module not in LIBPQ or place not in WITHOUT_HOST
    ],
)
def test_a_url_without_a_host_or_with_a_port_that_is_none(module: str, place: str) -> None:
    """It is told when it is added, and by what is allowed."""
    if place and OF_URL[module][0].startswith("mysql"):
        place = f"u@{place}"
    assert "//" in refused(module, *(word.format(place) for word in OF_URL[module]))


@pytest.mark.parametrize("hosts", ["h1,h2", "h1:5432,h2", "h1,h2:5433", "[::1]:5432,h2"])
def test_a_url_may_have_several_hosts(hosts: str) -> None:
    """Where its library tries one after the other."""
    load(OWN_DIRECTORY, "sql", "m", arguments=(f"postgresql://u@{hosts}/mail", *QUERY))
    assert "//" in refused("sql", f"postgresql://u@{hosts},h3:0/mail", *QUERY)


def test_sentinels_may_be_several() -> None:
    """By the word; without it one server is meant."""
    words = ("redis://h1:26379,h2/0", "backend", "store1")
    load(OWN_DIRECTORY, "redis", "m", arguments=(*words, "sentinel", "mail"))
    assert "URL is" in refused("redis", *words)
    assert "URL is" in refused("redis", "redis://h1:26379,h2:0/0", *words[1:], "sentinel", "mail")


@pytest.mark.parametrize("place", ["h:24", "[::1]:24", "::1:24", "127.0.0.1:65535"])
def test_a_place_of_dovecot(place: str) -> None:
    load(OWN_DIRECTORY, "dovecot", "m", arguments=(place, "backend", "store1"))


@pytest.mark.parametrize("text", ["((mail=%u", "(mail=%u))", "(&(mail=%u)(", "mail=%u)"])
def test_a_filter_that_is_none(text: str) -> None:
    assert "is no filter" in refused("ldap", "ldap://127.0.0.1", *BASE, "filter", text)


@pytest.mark.parametrize("place", ["h:x", "h:99999", "h:0", ":24", "h:\u00b2", "[::1:24", "[]:24", "::1"])
def test_a_place_of_dovecot_that_is_none(place: str) -> None:
    assert "HOST:PORT" in refused("dovecot", place, "backend", "store1")
