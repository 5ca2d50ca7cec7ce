"""Lists of cipher suites: which are taken, and why others are not; and whom a list leaves without any."""

from pathlib import Path

import pytest

from popular.tls.ciphers import suites_of
from popular.tls.variables import TLS_VARIABLES
from supervisor.control.language.lookups import Unfit
from tests.proxy.console import Console
from tests.system.certificates import RSA, Authority

DEFAULT = next(row.default for row in TLS_VARIABLES if row.name == "tlsciphers")


@pytest.mark.parametrize("text", [DEFAULT, "ECDHE-ECDSA-AES256-GCM-SHA384", "EECDH+AESGCM", "ECDHE+CHACHA20 !ECDSA"])
def test_what_is_taken(text: str) -> None:
    """Suites of TLS 1.2 with ECDHE, a certificate and an AEAD, in any words of OpenSSL's."""
    assert suites_of(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("eNULL:@SECLEVEL=0", "has an @"),
        ("ALL:@SECLEVEL=0", "has an @"),
        ("NULL", "encrypts nothing"),
        ("ECDHE+AESGCM:ECDHE-RSA-NULL-SHA", "ECDHE-RSA-NULL-SHA encrypts nothing"),
        ("AECDH", "is for no certificate"),
        ("ECDHE-PSK-CHACHA20-POLY1305", "ECDHE-PSK-CHACHA20-POLY1305 is for no certificate"),
        ("AES256-GCM-SHA384", "AES256-GCM-SHA384 exchanges keys in another way"),
        ("DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES256-GCM-SHA384 exchanges keys in another way"),
        ("ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384 is no AEAD"),
        ("TLS_AES_128_GCM_SHA256", "no cipher is in"),
        ("rubbish", "no cipher is in"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    """The reason names the first suite that may not be in a list, and what is allowed."""
    with pytest.raises(Unfit) as refusal:
        suites_of(text)
    assert reason in str(refusal.value)


def test_keys_that_no_suite_is_for(tmp_path: Path) -> None:
    """A list that leaves a server's key without a suite is taken with a note, which names the server."""
    console = Console()
    authority = Authority()
    authority.issue("a.org", key=RSA).write(tmp_path, "default")
    authority.issue("b.org").write(tmp_path, "ec")
    console.say(f"set tlsdir {tmp_path}")
    console.say("vserv conf rsa port 995 prot POP3s state fake")
    console.say("vserv conf pinned port 996 prot POP3s state fake tls ec")
    for kind, noted in (("ECDSA", "rsa"), ("RSA", "pinned")):
        text = console.say(f"set tlsciphers ECDHE-{kind}-AES256-GCM-SHA384").text
        assert f"note: none fits a key of {noted}: clients of TLS 1.2" in text
    assert "note" not in console.say(f"set tlsciphers {DEFAULT}").text
