"""Empty polls, absorbed: whose mailbox was empty a moment ago is shown an empty one again, without asking the backend.

For stores that cannot be asked by UDP, where a backend's `absorb` says for how long. What is kept is a digest of all
that the login was: user, password, virtual server, backend, mailbox; so another password is another login, and goes to
the backend. Nothing is kept of a session that saw mail; and where a user has seen mail after an empty poll, by
whatever other login, that poll counts no more: no client shall see mail, then none. All workers share it
(remembered.py). It does not outlive a change of the configuration, whose generation is in the digest: `pdm flush` and
`pdm reload` too.
"""

from popular.pdm.contract import Secret
from popular.protocol.conversation import MESSAGE, Conversation, Heard, ReplyLines, StatusLine
from popular.proxy.session.tapped_relay import Tap
from popular.proxy.session.who import Poll, Who
from popular.proxy.settings.backend import Backend
from supervisor.serving.context import WorkerContext
from supervisor.table.remembered import BLANK, Entry

_LISTINGS = frozenset({"LIST", "UIDL"})
_OF_MAIL = MESSAGE | _LISTINGS | {"DELE"}
"""Commands that get no positive status where there is no mail, if they name one."""


class Absorber:
    """What one virtual server knows of mailboxes that were empty, under one config, in one worker."""

    def __init__(self, context: WorkerContext, vserv: str, generation: int) -> None:
        self._memory = context.open_remembered()
        self._clock = context.clock
        self._where = f"{vserv}\0{generation}"

    def poll_of(self, who: Who, secret: Secret, backend: Backend, *, target: str) -> Poll:
        """What this login is known by."""
        password = secret.reveal().decode("latin-1")
        server = f"{backend.id}\0{backend.addresses}\0{backend.port}"
        key = self._memory.digest("poll", self._where, who.namespace, who.user, server, target, password)
        user = self._memory.digest("polls of", who.namespace, who.user)
        return Poll(key, user, at=self._clock.now, seconds=backend.absorb)

    def is_empty(self, poll: Poll) -> bool:
        """Whether the mailbox was empty at such a login within the time, and the user has not seen mail since."""
        found = self._memory.look(poll.key)
        return found.until > poll.at and self._memory.look(poll.user).at <= found.at

    def found(self, poll: Poll, *, empty: bool) -> None:
        """What the backend has shown. Time counts from the login on, for the mailbox is as it was then."""
        if empty:
            self._remember(poll.key, Entry(at=poll.at, until=poll.at + poll.seconds))
        else:
            now = self._clock.now
            self._remember(poll.key, BLANK)
            self._remember(poll.user, Entry(at=now, until=now + poll.seconds))

    def _remember(self, digest: int, entry: Entry) -> None:
        def change(_before: Entry) -> tuple[Entry, None]:
            return entry, None

        self._memory.change(digest, change)


class PollWatch(Tap):
    """Looks whether the mailbox of a session is empty: the first answer that tells it does."""

    __slots__ = ("_absorber", "_conversation", "_poll")

    def __init__(self, absorber: Absorber, poll: Poll) -> None:
        Tap.__init__(self)
        self._absorber = absorber
        self._poll = poll
        self._conversation = Conversation()

    def client_says(self, data: bytes) -> None:
        self._conversation.client_says(data)

    def backend_says(self, data: bytes) -> None:
        verdicts = (_is_empty(heard) for heard in self._conversation.server_says(data))
        empty = next((verdict for verdict in verdicts if verdict is not None), None)
        if empty is None and self._conversation.lost:
            empty = False
        if empty is not None:
            self.done = True
            self._absorber.found(self._poll, empty=empty)


def _is_empty(heard: Heard) -> bool | None:
    """What a reply says of the mailbox; None: nothing."""
    keyword = heard.to.keyword
    if isinstance(heard, ReplyLines):
        return not heard.count if keyword in _LISTINGS else None
    assert isinstance(heard, StatusLine)
    if not heard.is_ok:
        return None
    if keyword == "STAT":
        return heard.line.split()[1:2] == [b"0"]
    is_of_one = keyword in _OF_MAIL and not (keyword in _LISTINGS and heard.to.has_lines)
    return False if is_of_one else None
