"""A whole mail site for mail programs: a proxy in front of a storage, mails that are hard for POP3, and what was got.

    account = site.account(user, [mail(1), mail(2, LARGE)])
    assert fetched("mpop", account, directory, delete=True) == as_sent(mails)
    site.assert_all_quit(user)

Mails are compared by their digests, in no order: a failure that shows 50 MB helps nobody.
"""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.system.mailclients import TLS_CLIENTS, Account, Tls
from tests.system.site import Proxy
from tests.system.storages import Storage

LARGE = 50_000_000
PASSWORD = "4711-geheim"


class Site(NamedTuple):
    """A proxy in front of a storage."""

    proxy: Proxy
    port: int
    storage: Storage

    def account(self, name: str, mails: Sequence[bytes], port: int = 0, tls: Tls | None = None) -> Account:
        """A new user with these mails, whose name comes from `name`; `port` 0 is the site's."""
        user = f"user{abs(hash(name)) % 10**8}"
        self.storage.add_user(user, PASSWORD, mails)
        for module in self.proxy.said("pdm list").lines:
            self.proxy.said(f"pdm reload {module}")
        return Account(port or self.port, user, PASSWORD, len(mails), tls)

    def assert_all_quit(self, user: str) -> None:
        """Each session of the user has said QUIT, and none is left."""
        self.proxy.wait_until_quiet()
        ended = [entry.fields["ending"] for entry in self.proxy.log("session_end") if entry.fields["user"] == user]
        assert ended
        assert set(ended) == {"quit"}


def mail(number: int, octets: int = 0) -> bytes:
    """A mail with LF line ends and what is hard for POP3 in it, or of about so many octets."""
    chance = random.Random(number)
    header = (
        f"From: sender{number}@example.org\nTo: ann@example.org\nSubject: =?utf-8?q?Nummer_{number}_=C3=A4?=\n"
        f"Date: Thu, 1 Jan 2026 00:00:{number % 60:02} +0000\nMessage-ID: <{number}@example.org>\n\n"
    )
    traps = [
        ".",
        "..",
        ". ",
        ".dot",
        "..two dots",
        "",
        "From the beginning",
        " ",
        "ümläut",
        "x" * 900,
        "\t",
        "+OK",
        "-ERR",
    ]
    lines = [chance.choice(traps) for _ in range(chance.randrange(60))]
    if octets:
        line = "".join(chance.choice("abcdefghijklmnop.") for _ in range(74))
        lines += [f".{line}"[: 60 + turn % 16] for turn in range(octets // 68)]
    return (header + "".join(f"{line}\n" for line in [*lines, "the end"])).encode()


def digests(mails: Sequence[bytes]) -> list[str]:
    """Their SHA-256, sorted."""
    return sorted(hashlib.sha256(mail).hexdigest() for mail in mails)


def as_sent(mails: Sequence[bytes]) -> list[str]:
    """The digests that they have with CRLF line ends, as POP3 sends them."""
    return digests([mail.replace(b"\n", b"\r\n") for mail in mails])


def fetched(client: str, account: Account, directory: Path, *, delete: bool) -> list[str]:
    """The digests of what a client of the name gets, who works in a new directory below this one."""
    place = directory / ("delete" if delete else "keep")
    place.mkdir()
    return digests(TLS_CLIENTS[client](account, place, delete))
