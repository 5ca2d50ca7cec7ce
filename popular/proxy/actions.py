"""What the machine tells the driver to do. Values only; `machine.py` makes them, `session.py` does them."""

from typing import NamedTuple, TypeAlias

from popular.pdm.contract import Question, Route
from popular.proxy.settings.backend import Backend
from supervisor.runtime.messages import Message


class Send(NamedTuple):
    """Send this to the client."""

    data: bytes


class Ask(NamedTuple):
    """Ask the modules; the answer is `Machine.decided`."""

    question: Question


class CheckMail(NamedTuple):
    """Ask the backend by UDP whether the mailbox has mail; the answer is `Machine.checked`."""

    backend: Backend
    mailbox: str


class Connect(NamedTuple):
    """Connect to the backend; the answer is `Machine.connected` or `Machine.backend_failed`.

    `greets`: the backend speaks first, so that nothing needs to be done when the connection stands.
    """

    backend: Backend
    greets: bool


class SendBackend(NamedTuple):
    """Send this to the backend."""

    data: bytes


class StartBackendTls(NamedTuple):
    """Begin TLS with the backend; the answer is `Machine.backend_tls_up` or `Machine.backend_failed`."""


class LeaveBackend(NamedTuple):
    """Close the connection to the backend, without a word."""


class AwaitHeader(NamedTuple):
    """Read the PROXY header; the answer is `Machine.introduced` or `Machine.header_failed`."""


class StartTls(NamedTuple):
    """Send what is to be sent, then begin TLS with the client; the answer is `Machine.tls_up`."""


class LoggedIn(NamedTuple):
    """The authentication phase is over: its deadline no longer counts, that of the session begins."""


class Relay(NamedTuple):
    """Join client and backend, after passing on what is in hand for each."""

    to_client: bytes
    to_backend: bytes


class Note(NamedTuple):
    """Write an entry into the log."""

    message: Message
    fields: dict[str, object]


class Count(NamedTuple):
    """Count an event; `ident` is the thing that it belongs to, for a counter that is kept by one."""

    counter: str
    label: str | None = None
    ident: str = ""


class End(NamedTuple):
    """The session is over, when what is to be sent has been sent."""

    ending: str


Action: TypeAlias = (
    Send
    | AwaitHeader
    | Ask
    | CheckMail
    | Connect
    | SendBackend
    | StartBackendTls
    | LeaveBackend
    | StartTls
    | LoggedIn
    | Relay
    | Note
    | Count
    | End
)

__all__ = [
    "Action",
    "Ask",
    "AwaitHeader",
    "CheckMail",
    "Connect",
    "Count",
    "End",
    "LeaveBackend",
    "LoggedIn",
    "Note",
    "Question",
    "Relay",
    "Route",
    "Send",
    "SendBackend",
    "StartBackendTls",
    "StartTls",
]
