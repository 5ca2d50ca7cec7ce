"""What the machine tells its session to do: the verbs of one session.

A verb never calls the machine, and gives nothing back (but for `is_blocked`, which is a question). What it comes to is
told later, by the entry named; what is known at once (a connect that fails, modules that do not block) as soon as the
entry that called the verb has returned: until then the session keeps it. After `finish` the machine calls none.

`Verbs`, `SessionEvents`, `ClientOwner` and `DeadlineOwner` are what a session is to its machine and to its parts: one
chain of base classes, and not four, because a compiled class has one base, and only through that is a call one of C.
"""

from popular.pdm.contract import Question
from popular.pdm.decision import Decision
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.limits.login_orders import AskedLogin
from supervisor.runtime.messages import Message


class Verbs(SessionEvents):
    """The session, as its machine sees it.

    Where seconds are given, the answer has to come within them; else the machine hears `expired`.
    """

    __slots__ = ("row_number",)

    row_number: int
    """Its row of the table has this number, by which limits count it; -1 if it has none."""

    def send(self, data: bytes) -> None:
        """A reply to the client. All that one entry says leaves in one piece, when it has returned."""
        raise NotImplementedError

    def is_blocked(self, address: str) -> bool:
        """Whether nobody from there is served at the moment."""
        raise NotImplementedError

    def yield_turn(self) -> None:
        """All others have their turn before this client is heard again: → `proceed`."""
        raise NotImplementedError

    def start_tls(self, seconds: float) -> None:
        """TLS with the client, after what was said: → `tls_up`, `tls_failed`."""
        raise NotImplementedError

    def await_header(self, seconds: float) -> None:
        """Read the PROXY header: → `introduced`, `header_failed`."""
        raise NotImplementedError

    def ask(self, question: Question, seconds: float) -> None:
        """Ask the modules: → `decided`."""
        raise NotImplementedError

    def take_as_decided(self, decision: Decision) -> None:
        """What was asked is known without the modules: → `decided`."""
        raise NotImplementedError

    def check_mail(self, backend: BackendRuntime, mailbox: str, seconds: float) -> None:
        """Ask the backend by UDP whether there is mail: → `checked`; or, where too many wait for it,
        → `backend_failed`.
        """
        raise NotImplementedError

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        """Connect to the backend. If it `greets` (speaks first): → `backend_says`, else → `connected`; or
        → `backend_failed`.
        """
        raise NotImplementedError

    def expect(self, seconds: float) -> None:
        """The answer that is waited for has so many seconds from now on."""
        raise NotImplementedError

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        """The client waits for so long, but only `at_least` beyond the end of the authentication phase: → `expired`."""
        raise NotImplementedError

    def await_release(self, asking: AskedLogin, seconds: float) -> None:
        """Like `hold`, unless what the operator has ordered about this login changes first: → `released`."""
        raise NotImplementedError

    def send_backend(self, data: bytes) -> None:
        """A line of the login, to the backend."""
        raise NotImplementedError

    def start_backend_tls(self) -> None:
        """TLS with the backend: → `backend_tls_up`, `backend_failed`."""
        raise NotImplementedError

    def leave_backend(self) -> None:
        """Close the connection to the backend, if there is one, without a word."""
        raise NotImplementedError

    def logged_in(self) -> None:
        """The authentication phase is over: its deadline no longer counts, that of the session begins."""
        raise NotImplementedError

    def relay(self, to_client: bytes, to_backend: bytes) -> None:
        """Join client and backend, after what each is still to be sent: → `relay_ended`."""
        raise NotImplementedError

    def note(self, message: Message, fields: dict[str, object]) -> None:
        """An entry of the log."""
        raise NotImplementedError

    def count(self, counter: str, label: str | None, ident: str) -> None:
        """Adds one to a counter of the table: under `label`, or None if it has no labels; and under `ident`, the id of
        a virtual server, backend or module, or "" if it is not kept for each of them.
        """
        raise NotImplementedError

    def finish(self, ending: str, seconds: float) -> None:
        """The session is over, as soon as the last reply has left, which has so many seconds."""
        raise NotImplementedError
