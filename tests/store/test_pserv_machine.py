"""The storage server's session as a machine: octets and facts in, one step out at a time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.lines import LONGEST_COMMAND
from popular.protocol.xpop import LONGEST_LINE
from popular.store.listing import CUR, NEW, Message
from popular.store.pserv.machine import Close, Machine, Open, Phase, Reply, SendMessage, Step, Update

REQUEST = b"3/joe\r\np.1.1\r\n\r\n"
MESSAGES = [Message(120, "1.1_120", NEW, "1.1_120"), Message(80, "2.1_80", CUR, "2.1_80:2,S")]


def machine() -> Machine:
    return Machine(("TOP", "UIDL"))


def in_transaction(flags: bytes = b"") -> Machine:
    """A machine whose mailbox is open."""
    made = machine()
    made.says(b"3/joe\r\np.1.1\r\n" + flags + b"\r\n")
    assert type(made.step()) is Open
    assert made.opened(MESSAGES) == Reply(b"+OK 2 messages (200 octets)\r\n")
    return made


def steps(of: Machine) -> list[Step]:
    """All steps that can be done now."""
    found: list[Step] = []
    while (step := of.step()) is not None:
        found.append(step)
        if type(step) is Close:
            break
    return found


@given(st.lists(st.integers(1, len(REQUEST) - 1), max_size=6))
def test_a_request_may_come_in_pieces(cuts: list[int]) -> None:
    """However the three lines are cut, the mailbox is asked for once, when they are there."""
    made = machine()
    places = [0, *sorted(cuts), len(REQUEST)]
    for start, end in itertools.pairwise(places):
        assert made.step() is None
        assert made.listens
        made.says(REQUEST[start:end])
    (step,) = steps(made)
    assert type(step) is Open
    assert (step.request.mailbox, step.request.sid, step.request.flags) == ("3/joe", "p.1.1", "")
    assert not made.listens


@pytest.mark.parametrize("line", [b"USER joe", b"user joe", b"APOP joe x", b"AUTH PLAIN x", b"PASS a b"])
def test_a_pop3_client_is_told_at_once(line: bytes) -> None:
    """Who speaks POP3 to a storage server is told so after the first line, and the password is not repeated."""
    made = machine()
    made.says(line + b"\r\n")
    (step,) = steps(made)
    assert type(step) is Close
    assert step.ending == "bad_request"
    assert step.reply.startswith(b"-ERR [SYS/PERM] this is a storage server for POP3 proxies")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (b"../etc\r\n", b".."),
        (b"/etc\r\n", b"begin"),
        (b"\r\n", b"empty"),
        (b"j\xf6e\r\n", b"only letters"),
        (b"joe\r\na b\r\n", b"session id"),
        (b"joe\r\ns\r\n-1\r\n", b"flags"),
    ],
)
def test_bad_requests_are_refused(said: bytes, word: bytes) -> None:
    """A faulty line of the request ends the session; reply and reason say what is wrong."""
    made = machine()
    made.says(said)
    (step,) = steps(made)
    assert type(step) is Close
    assert step.ending == "bad_request"
    assert step.reply.startswith(b"-ERR [SYS/PERM] ")
    assert word in step.reply
    assert word.decode() in step.reason


@pytest.mark.parametrize("before", [b"", b"joe\r\n", REQUEST])
def test_null_octets_end_it_silently(before: bytes) -> None:
    """A NUL drops the session without a word, in the request and behind it."""
    made = machine()
    made.says(before + b"NO\0OP\r\n")
    first = made.step()
    if type(first) is Open:
        made.opened(MESSAGES)
        first = made.step()
    assert first == Close("null_byte")


def test_lines_are_limited() -> None:
    """A request line may be as long as a mailbox name, a command 255 octets; what is longer ends the session."""
    made = machine()
    made.says(b"x" * LONGEST_LINE)
    assert [type(step) for step in steps(made)] == [Close]
    opened = in_transaction()
    opened.says(b"NOOP" + b" " * (LONGEST_COMMAND - 6) + b"\r\n")
    assert steps(opened) == [Reply(b"+OK\r\n")]
    opened.says(b"NOOP" + b" " * LONGEST_COMMAND)
    (step,) = steps(opened)
    assert type(step) is Close
    assert (step.ending, step.reply[:4]) == ("line_too_long", b"-ERR")


def test_commands_wait_for_the_mailbox_and_for_a_message() -> None:
    """What stands behind the request, or behind RETR, is answered in its turn and not before."""
    made = machine()
    made.says(REQUEST + b"STAT\r\nRETR 1\r\nTOP 2 0\r\nQUIT\r\n")
    assert [type(step) for step in steps(made)] == [Open]
    made.opened(MESSAGES)
    assert steps(made) == [Reply(b"+OK 2 200\r\n"), SendMessage(b"+OK 120 octets\r\n", MESSAGES[0], None)]
    assert made.phase is Phase.SENDING
    made.sent()
    assert steps(made) == [SendMessage(b"+OK top of the message follows\r\n", MESSAGES[1], 0)]
    made.sent()
    assert steps(made) == [Update([], [MESSAGES[0]])]
    assert made.updated(0, 0) == Close("quit", b"+OK bye\r\n")
    assert (made.retrieved, made.deleted, made.phase) == (1, 0, Phase.OVER)


def test_a_master_session_leaves_mail_new() -> None:
    """With the flag M what was read is not moved, and what was deleted is removed."""
    made = in_transaction(b"M")
    made.says(b"RETR 1\r\nDELE 2\r\nQUIT\r\n")
    steps(made)
    made.sent()
    assert steps(made) == [Reply(b"+OK message 2 deleted\r\n"), Update([MESSAGES[1]], [])]


@pytest.mark.parametrize(("flags", "said"), [(b"", b"STAT\r\n"), (b"", b"RETR 2\r\n"), (b"M", b"RETR 1\r\n")])
def test_quit_without_anything_to_do(flags: bytes, said: bytes) -> None:
    """Where nothing is to be removed or moved, QUIT is answered at once."""
    made = in_transaction(flags)
    made.says(said + b"QUIT\r\nNOOP\r\n")
    found = steps(made)
    if type(found[-1]) is SendMessage:
        made.sent()
        found = steps(made)
    assert found[-1] == Close("quit", b"+OK bye\r\n")


def test_messages_that_cannot_be_sent() -> None:
    """One that is gone, and one that cannot be read, get an error; the session goes on and neither counts as read."""
    made = in_transaction()
    made.says(b"RETR 1\r\nRETR 1\r\nQUIT\r\n")
    steps(made)
    assert made.gone() == Reply(b"-ERR message 1 is no longer there\r\n")
    steps(made)
    assert made.unreadable().data.startswith(b"-ERR [SYS/TEMP] ")
    assert steps(made) == [Close("quit", b"+OK bye\r\n")]
    assert made.retrieved == 0


def test_no_reply_inside_a_message() -> None:
    """A message that cannot be read to its end ends the session without a word; so does a disk that hangs there."""
    for give_up in (Machine.broke_off, Machine.disk_is_slow):
        made = in_transaction()
        made.says(b"RETR 1\r\n")
        steps(made)
        assert give_up(made).reply == b""


def test_a_slow_disk_is_owned_up_to() -> None:
    """While the mailbox is opened or updated there is room for a reply, and it says: later."""
    made = machine()
    made.says(REQUEST)
    steps(made)
    assert made.disk_is_slow().reply.startswith(b"-ERR [SYS/TEMP] the mailbox cannot be opened")
    made = in_transaction()
    made.says(b"DELE 1\r\nQUIT\r\n")
    steps(made)
    slow = made.disk_is_slow()
    assert (slow.ending, slow.reply[:17]) == ("disk_timeout", b"-ERR [SYS/TEMP] t")


def test_updates_that_fail() -> None:
    """QUIT is refused when deleted messages are still there, and when nothing could be done."""
    made = in_transaction()
    made.says(b"DELE 1\r\nQUIT\r\n")
    steps(made)
    assert made.updated(0, 1) == Close("quit", b"-ERR 1 deleted messages could not be removed\r\n")
    made = in_transaction()
    made.says(b"DELE 1\r\nQUIT\r\n")
    steps(made)
    assert made.cannot_update().ending == "update_failed"


@pytest.mark.parametrize("said", [b"", b"3/joe\r\np.1.1", REQUEST, REQUEST + b"DELE 1\r\nNOO"])
def test_a_client_that_closes(said: bytes) -> None:
    """What was said before the end of the stream is answered; without QUIT nothing is updated."""
    made = machine()
    made.says(said)
    made.ends()
    found = steps(made)
    if found and type(found[-1]) is Open:
        made.opened(MESSAGES)
        found += steps(made)
    assert found[-1] == Close("client_closed")
    assert not any(type(step) is Update for step in found)


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"RETR 1\r\n", b"DELE 2\r\n", b"QUIT\r\n"]), max_size=20))
def test_nothing_that_a_client_sends_breaks_it(pieces: list[bytes]) -> None:
    """Any octets lead to steps that fit the phase, and never to an exception."""
    made = in_transaction()
    for piece in pieces:
        if not made.listens:
            break
        made.says(piece)
        for step in steps(made):
            if type(step) is SendMessage:
                made.sent()
            elif type(step) is Update:
                assert made.updated(len(step.deleted), 0).ending == "quit"
            elif type(step) is Close:
                assert made.phase is Phase.OVER
