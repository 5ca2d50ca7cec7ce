"""`vserv … mechanisms` and `apop`, as an operator says them."""

import pytest

from popular.proxy.session.rules import rules_of
from popular.proxy.settings.mechanisms import USUAL, WAYS, MechanismList
from popular.proxy.settings.vserv import Vserv
from tests.proxy.console import Console, refused


@pytest.fixture
def console() -> Console:
    made = Console()
    made.say("vserv conf v1 port 1110 bannerok ready state online")
    return made


def test_mechanisms_are_words_with_commas(console: Console) -> None:
    """In any order and case, each once; `show` has them in the order in which they are offered."""
    assert console.config.things["vserv"]["v1"].mechanisms == USUAL
    console.say("vserv conf v1 mechanisms CRAM-MD5,plain,plain,User")
    assert console.config.things["vserv"]["v1"].mechanisms == ("user", "plain", "cram-md5")
    kind = MechanismList()
    assert kind.format(("user", "plain")) == "user,plain"
    assert set(USUAL) < set(WAYS)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("mechanisms plan", 'did you mean "plain"'),
        ("mechanisms user,,plain", "is no way to log in"),
        ('mechanisms ""', "is no way to log in"),
        (
            "mechanisms digest-md5",
            "allowed: user, plain, login, scram-sha-256, cram-md5, xoauth2, oauthbearer, external",
        ),
        ("apop maybe", "is not a Bool"),
        (f"apop on bannerok {'x' * 385}", "with apop on, 384 octets are allowed"),
        ("bannerok <1@x>", "say `apop on`, which makes one"),
    ],
)
def test_what_is_refused_says_what_is_allowed(console: Console, said: str, text: str) -> None:
    """And nothing is changed."""
    assert text in refused(console, f"vserv conf v1 {said}")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "there is no TLS (prot, starttls)"),
        ("clientcert optional clientca /ca.pem", "there is no TLS (prot, starttls)"),
        ("starttls optional", "no client is asked for a certificate (clientcert)"),
        ("starttls optional clientcert optional clientca /ca.pem", ""),
        ("mechanisms user,plain", ""),
    ],
)
def test_external_without_a_certificate_is_useless(said: str, why: str) -> None:
    """And which parameter is in the way is said."""
    made = Vserv.make("v1").with_parameters({"mechanisms": ("user", "external")} | _values(said))
    assert made.useless == (why and f"vserv v1: mechanisms has external, which nobody can use: {why}")


def _values(said: str) -> dict[str, object]:
    words = said.split()
    values: dict[str, object] = dict(zip(words[::2], words[1::2], strict=True))
    return values | ({"mechanisms": tuple(str(values["mechanisms"]).split(","))} if "mechanisms" in values else {})


def test_completion() -> None:
    """The last word is completed, by those that do not stand there already."""
    assert MechanismList().complete("user,pl") == ["user,plain"]
    assert "plain" in MechanismList().complete("")
    assert MechanismList().complete("plain,p") == []


def test_a_greeting_with_a_challenge_is_one_line(console: Console) -> None:
    """The longest greeting that is allowed, with the longest name of a host, is a reply of RFC 1939."""
    console.say(f"vserv conf v1 apop on bannerok {'x' * 384}")
    vserv = console.config.things["vserv"]["v1"]
    rules = rules_of(vserv, console.config, ("password", "challenge"))
    assert rules.apop
    assert not rules_of(vserv, console.config).apop, "no module could answer it"
    challenge = rules.challenges.of("a" * 30 + ".1234567890.123456", 0)
    assert len(rules.greeting) + 1 + len(challenge) - len(challenge.split(b"@")[1]) + 65 <= 512
