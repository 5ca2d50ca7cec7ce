"""What the demo's site is like: two users, a few mails, and the start configurations of its programs. Pure.

joe (password joe) has mail; ann (password ann) has none, and is answered by the proxy alone.
"""

from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

import argon2

from supervisor.control.words import phrase
from supervisor.runtime.httpaddress import HttpAddress

HOST = "127.0.0.1"
NAMESPACE = "demo"
MAILS = (
    ("Welcome", "This mail lay in a Maildir.\npserv read it there, and pproxy passed it on to you.\n"),
    ("The other user", "ann has no mail.\nThe proxy asks pcheckd by UDP, and then answers her alone.\n"),
    ("A command", "pcontrol changes the proxy while it runs. Say: help\n\n.This line begins with a dot.\n"),
)
"""What joe finds: subject and text."""


class Ports(NamedTuple):
    """Where everything listens: the ports on HOST, `check` by UDP, and pproxy's exporter, if there is one."""

    pop3: int
    pop3s: int
    store: int
    check: int
    metrics: HttpAddress | None


def storage_commands(directory: Path, ports: Ports) -> list[str]:
    """The start configuration of pserv."""
    return [
        phrase(["set", "mailboxdir", str(directory / "mail")]),
        f"server conf iface {HOST} port {ports.store} state online",
    ]


def proxy_commands(directory: Path, ports: Ports) -> list[str]:
    """The start configuration of pproxy."""
    return [
        "set sidprefix demo",
        f"set checkport {ports.check}",
        phrase(["set", "tlsdir", str(directory / "tls")]),
        f"backend conf store host {HOST} port {ports.store} prot CXPOP state online",
        phrase(["pdm", "add", "users", "passwd", str(directory / "passwd")]),
        f"vserv conf pop3 iface {HOST} port {ports.pop3} namespace {NAMESPACE} starttls optional state online",
        f"vserv conf pop3s iface {HOST} port {ports.pop3s} prot POP3s namespace {NAMESPACE} state online",
    ]


def users() -> str:
    """The file of the module `passwd`: each user's password is the name."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)
    return "".join(f"{NAMESPACE}:{name}:{hasher.hash(name)}:store:{name}\n" for name in ("joe", "ann"))


def mail(subject: str, text: str) -> bytes:
    """A mail as a mail server would hand it to pdeliver."""
    made = EmailMessage()
    made["From"] = "postmaster@example.org"
    made["To"] = "joe@example.org"
    made["Subject"] = subject
    made.set_content(text)
    return bytes(made)
