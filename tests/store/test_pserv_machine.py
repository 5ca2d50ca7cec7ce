"""The storage server's session as a machine: octets and lookups in, verbs out."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.lines import LONGEST_COMMAND
from popular.protocol.transaction import LINES_OF_A_PIECE
from popular.protocol.xpop import LONGEST_LINE, Request
from popular.store.maildir.listing import CUR, NEW, ListingNote, StoredMessage
from popular.store.messages import DIR_ACCESS_FAILED, NOT_A_MESSAGE, READ_FAILED, UPDATE_FAILED
from popular.store.pserv.machine import (
    CLOSING_SECONDS,
    DISK_SECONDS,
    ENOUGH,
    LINES_A_TURN,
    MOST_NOTES,
    Machine,
)
from popular.store.pserv.phases import LEGAL, STATES, Phase, Want
from popular.store.pserv.verbs import Verbs

REQUEST = b"3/joe\r\np.1.1\r\n\r\n"
MESSAGES = [StoredMessage(120, "1.1_120", NEW, name="1.1_120"), StoredMessage(80, "2.1_80", CUR, name="2.1_80:2,S")]
WELCOME = b"+OK 2 messages (200 octets)\r\n"
LATER = b"-ERR [SYS/TEMP] "
SLOWNESS = ("expect_within", DISK_SECONDS)
LAST = ("expect_within", CLOSING_SECONDS)
FACT = ("expect_nothing",)


class Recorder:
    """Writes down every verb; neighbouring replies are one, as they are one on the wire."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def __getattr__(self, verb: str) -> Any:
        assert verb in vars(Verbs), f"there is no verb {verb}"
        return lambda *words, **fields: self._record(verb, *words, *([fields] if fields else []))

    def _record(self, verb: str, *words: Any) -> None:
        if verb == "send" and self.done and self.done[-1][0] == "send":
            self.done[-1] = ("send", self.done[-1][1] + words[0])
        else:
            self.done.append((verb, *words))

    def take(self) -> list[tuple[Any, ...]]:
        """What was done since the last look."""
        done, self.done = self.done, []
        return done


class Script:
    """A machine with its recorder: each step gives what it did."""

    def __init__(self, said: bytes = b"") -> None:
        self.verbs = Recorder()
        self.machine = Machine(self.verbs, ("TOP", "UIDL"))
        if said:
            self.machine.says(said)

    def says(self, data: bytes) -> list[tuple[Any, ...]]:
        return self.tell("says", data)

    def tell(self, entry: str, *lookups: Any, **named: Any) -> list[tuple[Any, ...]]:
        getattr(self.machine, entry)(*lookups, **named)
        return self.verbs.take()

    @property
    def now(self) -> tuple[Phase, Want]:
        return self.machine.phase, self.machine.wants


def in_transaction(flags: bytes = b"", messages: Sequence[StoredMessage] = MESSAGES) -> Script:
    """A session whose mailbox is open."""
    script = Script(b"3/joe\r\np.1.1\r\n" + flags + b"\r\n")
    assert script.verbs.take() == [("open_mailbox", Request("3/joe", "p.1.1", flags.decode())), SLOWNESS]
    script.tell("opened", messages, [])
    assert script.now == (Phase.SERVING, Want.OCTETS)
    return script


def assert_ends(script: Script, ending: str, reason: str = "") -> None:
    """When the client has taken what was sent the session ends, for this reason."""
    assert script.now == (Phase.ENDING, Want.ROOM)
    (end,) = script.tell("proceed")
    assert end == ("end", ending, reason)
    assert script.now == (Phase.ENDED, Want.FACT)


# The table


def test_every_phase_has_its_moves_and_can_be_reached() -> None:
    """The table has a row for each phase; each but the first is led to, each but the last leads on and can end."""
    assert set(LEGAL) == set(Phase)
    reached = set().union(*LEGAL.values())
    assert set(Phase) - reached == {Phase.ASKED_NOTHING}
    assert [phase for phase in Phase if Phase.ENDED not in LEGAL[phase]] == [Phase.ENDED]
    assert not LEGAL[Phase.ENDED]


def test_the_number_of_a_phase_is_its_state_in_the_table() -> None:
    """A row's number is the place of its phrase; a session that is over has a free row."""
    assert [STATES[phase] for phase in Phase] == ["free", *(phase.phrase for phase in Phase if phase)]
    assert len(STATES) == len(Phase)


# The request


@given(st.lists(st.integers(1, len(REQUEST) - 1), max_size=6))
def test_a_request_may_come_in_pieces(cuts: list[int]) -> None:
    """However the three lines are cut, the mailbox is asked for once, when they are there."""
    script = Script()
    done: list[Any] = []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(REQUEST)]):
        assert (done, script.machine.wants) == ([], Want.OCTETS)
        done = script.says(REQUEST[start:end])
    assert done == [("open_mailbox", Request("3/joe", "p.1.1", "")), SLOWNESS]
    assert script.now == (Phase.OPENING, Want.FACT)


@pytest.mark.parametrize("line", [b"USER joe", b"user joe", b"APOP joe x", b"AUTH PLAIN x", b"PASS a b"])
def test_a_pop3_client_is_told_at_once(line: bytes) -> None:
    """Who speaks POP3 to a storage server is told so after the first line, and the password is not repeated."""
    script = Script()
    (said, limit) = script.says(line + b"\r\n")
    assert said[1].startswith(b"-ERR [SYS/PERM] this is a storage server for POP3 proxies")
    assert limit == LAST
    assert script.tell("proceed")[0][:2] == ("end", "bad_request")


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
    script = Script()
    (reply, _) = script.says(said)
    assert reply[1].startswith(b"-ERR [SYS/PERM] ")
    assert word in reply[1]
    (end,) = script.tell("proceed")
    assert end[:2] == ("end", "bad_request")
    assert word.decode() in end[2]


def test_who_says_nothing_is_told_where_he_is() -> None:
    """Who waits for a greeting until the request's time is over is a POP3 client."""
    script = Script()
    (said, limit) = script.tell("expired", "auth")
    assert said[1].startswith(b"-ERR this is a storage server for POP3 proxies")
    assert limit == LAST
    assert script.tell("expired", "auth") == []  # the wheel may tell it again; the reply has its own time
    assert_ends(script, "request_timeout")


@pytest.mark.parametrize("before", [b"", b"joe\r\n", REQUEST])
def test_null_octets_end_it_silently(before: bytes) -> None:
    """A NUL drops the session without a word, in the request and after it."""
    script = Script(before + b"NO\0OP\r\n")
    done = script.verbs.take()
    if script.machine.phase is Phase.OPENING:
        done = script.tell("opened", MESSAGES, [])
        assert [verb for verb, *_ in done] == ["expect_nothing", "count", "send", "expect_within"]
        assert done[2] == ("send", WELCOME)
    else:
        assert done == [LAST]
    assert_ends(script, "null_byte")


def test_lines_are_limited() -> None:
    """A request line may be as long as a mailbox name, a command 255 octets; what is longer ends the session."""
    script = Script()
    assert script.says(b"x" * LONGEST_LINE) == [("send", b"-ERR the line is too long\r\n"), LAST]
    script = in_transaction()
    assert script.says(b"NOOP" + b" " * (LONGEST_COMMAND - 6) + b"\r\n") == [("send", b"+OK\r\n")]
    assert script.says(b"x" * LONGEST_COMMAND) == [("send", b"-ERR the line is too long\r\n"), LAST]
    assert_ends(script, "line_too_long")


# Commands, messages, listings


def test_a_whole_session() -> None:
    """What stands after the request, or after RETR, is answered in its turn and not before."""
    script = Script()
    said = REQUEST + b"STAT\r\nRETR 1\r\nTOP 2 0\r\nQUIT\r\n"
    assert script.says(said) == [("open_mailbox", Request("3/joe", "p.1.1", "")), SLOWNESS]
    assert script.tell("opened", MESSAGES, []) == [
        FACT,
        ("count", "opened"),
        ("send", WELCOME + b"+OK 2 200\r\n"),
        ("open_message", MESSAGES[0], None),
        SLOWNESS,
    ]
    first = [FACT, ("send", b"+OK 120 octets\r\n"), ("send_content", b"Subj")]
    assert script.tell("piece", b"Subj", last=False) == first
    assert script.now == (Phase.SENDING, Want.ROOM)
    assert script.tell("proceed") == [SLOWNESS, ("read_on",)]
    assert script.tell("piece", b"ect\r\n.\r\n", last=True) == [FACT, ("send_content", b"ect\r\n.\r\n")]
    assert script.now == (Phase.SERVING, Want.ROOM)
    assert script.machine.retrieved == 1
    assert script.tell("proceed") == [("open_message", MESSAGES[1], 0), SLOWNESS]
    assert script.tell("piece", b".\r\n", last=True)[1] == ("send", b"+OK top of the message follows\r\n")
    assert script.tell("proceed") == [("update", [], [MESSAGES[0]]), SLOWNESS]
    assert script.tell("updated", 0, 0, []) == [FACT, ("send", b"+OK bye\r\n"), LAST]
    assert_ends(script, "quit")
    assert (script.machine.retrieved, script.machine.deleted) == (1, 0)


def test_a_master_session_leaves_mail_new() -> None:
    """With the flag M what was read is not moved, and what was deleted is removed."""
    script = in_transaction(b"M")
    script.says(b"RETR 1\r\nDELE 2\r\nQUIT\r\n")
    script.tell("piece", b".\r\n", last=True)
    done = script.tell("proceed")
    assert done == [("send", b"+OK message 2 deleted\r\n"), ("update", [MESSAGES[1]], []), SLOWNESS]
    script.tell("updated", 1, 0, [])
    assert script.machine.deleted == 1


@pytest.mark.parametrize(("flags", "said"), [(b"", b"STAT\r\n"), (b"", b"RETR 2\r\n"), (b"M", b"RETR 1\r\n")])
def test_quit_without_anything_to_do(flags: bytes, said: bytes) -> None:
    """Where nothing is to be removed or moved, QUIT is answered at once, and nothing after it."""
    script = in_transaction(flags)
    done = script.says(said + b"QUIT\r\nNOOP\r\n")
    if script.machine.phase is Phase.SENDING:
        script.tell("piece", b".\r\n", last=True)
        done = script.tell("proceed")
    assert done[-2][1].endswith(b"+OK bye\r\n")
    assert done[-1] == LAST
    assert_ends(script, "quit")


def test_messages_that_cannot_be_sent() -> None:
    """One that is gone, and one that cannot be read, get an error; the session goes on and neither counts as read."""
    script = in_transaction()
    script.says(b"RETR 1\r\nRETR 1\r\nQUIT\r\n")
    again = [("open_message", MESSAGES[0], None), SLOWNESS]
    assert script.tell("gone") == [FACT, ("send", b"-ERR message 1 is no longer there\r\n"), *again]
    fact, note, reply, limit = script.tell("unreadable", "EIO")
    assert (fact, limit) == (FACT, LAST)
    assert note == ("note", READ_FAILED, {"mailbox": "3/joe", "reason": "EIO"})
    assert reply[1] == LATER + b"the message cannot be read at the moment, please try again later\r\n+OK bye\r\n"
    assert_ends(script, "quit")
    assert script.machine.retrieved == 0


def test_no_reply_inside_a_message() -> None:
    """A message that cannot be read to its end ends the session without a word; so does a disk that hangs there."""
    for entry, ending in (("broke_off", "mailbox_failed"), ("expired", "disk_timeout")):
        script = in_transaction()
        script.says(b"RETR 1\r\n")
        script.tell("piece", b"x", last=False)
        script.tell("proceed")
        done = script.tell(entry, "step")
        assert (("note", READ_FAILED, {"mailbox": "3/joe", "reason": "step"}) in done) == (entry == "broke_off")
        assert [verb for verb, *_ in done if verb.startswith("send")] == []
        assert_ends(script, ending)


def test_a_long_listing_is_sent_as_the_client_takes_it() -> None:
    """Each turn makes one piece, others have theirs in between, and what was pipelined after it waits."""
    count = 10 * LINES_OF_A_PIECE
    script = in_transaction(messages=[StoredMessage(1, f"{n}_1", CUR, name=f"{n}_1") for n in range(count)])
    done = script.says(b"UIDL\r\nNOOP\r\n")
    listing = b""
    pieces = 0
    while script.machine.phase is Phase.LISTING:
        assert script.machine.wants is Want.TURN
        ((verb, piece),) = done
        assert verb == "send"
        assert piece.count(b"\n") <= LINES_OF_A_PIECE + 2
        listing += piece
        pieces += 1
        done = script.tell("proceed")
    assert pieces == 11
    assert listing.count(b"\r\n") == count + 2
    assert listing.endswith(b"\r\n.\r\n")
    assert done == [("send", b"+OK\r\n")]
    assert script.now == (Phase.SERVING, Want.OCTETS)


def test_many_answers_are_given_in_turns() -> None:
    """Who pipelines what has large answers gets about ENOUGH octets, then others have their turn."""
    script = in_transaction(
        messages=[StoredMessage(1, f"{n}_1" + "x" * 60, CUR, name=f"{n}") for n in range(LINES_OF_A_PIECE)]
    )
    ((_, said),) = script.says(b"UIDL\r\n" * 50)
    turns = [len(said)]
    while script.machine.wants is Want.TURN:
        assert script.machine.phase is Phase.SERVING
        turns.append(sum(len(words[1]) for words in script.tell("proceed")))
    assert len(turns) >= 50
    assert max(turns) < 2 * ENOUGH
    assert script.now == (Phase.SERVING, Want.OCTETS)


def test_many_small_answers_are_given_in_turns_too() -> None:
    """A few lines of one client, then others have theirs; half a line is not waited for."""
    script = in_transaction()
    ok = b"+OK\r\n"
    sends = [script.says(b"NOOP\r\n" * (2 * LINES_A_TURN) + b"NO")]
    while script.machine.wants is Want.TURN:
        sends.append(script.tell("proceed"))
    assert [b"".join(words[1] for words in done) for done in sends] == [ok * LINES_A_TURN, ok * LINES_A_TURN, b""]
    assert script.now == (Phase.SERVING, Want.OCTETS)


def test_a_turn_that_leaves_nothing_is_the_last() -> None:
    """Others are not waited for where nothing is left to be answered."""
    script = in_transaction()
    assert script.says(b"NOOP\r\n" * LINES_A_TURN) == [("send", b"+OK\r\n" * LINES_A_TURN)]
    assert script.now == (Phase.SERVING, Want.OCTETS)


# The disk


def test_a_mailbox_that_cannot_be_opened() -> None:
    """The client is told to come later, the log why."""
    script = Script(REQUEST)
    script.verbs.take()
    fact, note, reply, limit = script.tell("cannot_open", "EACCES")
    assert (fact, limit) == (FACT, LAST)
    assert note == ("note", DIR_ACCESS_FAILED, {"mailbox": "3/joe", "reason": "EACCES"})
    assert reply[1].startswith(LATER + b"the mailbox cannot be opened")
    assert_ends(script, "mailbox_failed")


def test_odd_files_are_noted_up_to_a_number() -> None:
    """The first twenty have a line each, the others one together; both of a listing and of an UPDATE."""
    script = Script(REQUEST + b"DELE 1\r\nQUIT\r\n")
    script.verbs.take()
    odd = [ListingNote(NOT_A_MESSAGE, f"f{number}", "d---") for number in range(MOST_NOTES + 10)]
    for done in (script.tell("opened", MESSAGES, odd), script.tell("updated", 1, 0, odd)):
        notes = [words[2] for words in done if words[0] == "note"]
        assert len(notes) == MOST_NOTES + 1
        assert notes[0] == {"mailbox": "3/joe", "file": "f0", "reason": "d---"}
        assert notes[-1] == {"mailbox": "3/joe", "file": f"f{MOST_NOTES}", "reason": "and 10 more files"}
    script = Script(REQUEST)
    script.verbs.take()
    assert [words[0] for words in script.tell("opened", MESSAGES, odd[:MOST_NOTES])].count("note") == MOST_NOTES


def test_a_slow_disk_is_owned_up_to() -> None:
    """While the mailbox is opened or updated there is room for a reply, and it says: later. What comes then is late."""
    script = Script(REQUEST)
    script.verbs.take()
    said, limit = script.tell("expired", "step")
    assert said[1].startswith(LATER + b"the mailbox cannot be opened")
    assert limit == LAST
    assert script.tell("opened", MESSAGES, []) == []
    assert_ends(script, "disk_timeout")
    script = in_transaction()
    script.says(b"DELE 1\r\nQUIT\r\n")
    said, limit = script.tell("expired", "step")
    assert said[1].startswith(LATER + b"the mailbox cannot be updated")
    assert script.tell("updated", 1, 0, []) == []
    assert_ends(script, "disk_timeout")


def test_updates_that_fail() -> None:
    """QUIT is refused when deleted messages are still there, and when nothing could be done."""
    script = in_transaction()
    script.says(b"DELE 1\r\nQUIT\r\n")
    assert script.tell("updated", 0, 1, [])[1:] == [("send", b"-ERR 1 deleted messages could not be removed\r\n"), LAST]
    assert_ends(script, "quit")
    script = in_transaction()
    script.says(b"DELE 1\r\nQUIT\r\n")
    _, note, reply, _ = script.tell("cannot_update", "EROFS")
    assert note == ("note", UPDATE_FAILED, {"mailbox": "3/joe", "reason": "EROFS"})
    assert reply[1].startswith(LATER)
    assert_ends(script, "update_failed")
    assert script.machine.deleted == 0


# The end


@pytest.mark.parametrize("said", [b"", b"3/joe\r\np.1.1", REQUEST, REQUEST + b"DELE 1\r\nNOO"])
def test_a_client_that_closes(said: bytes) -> None:
    """What was said before the end of the stream is answered; without QUIT nothing is updated."""
    script = Script(said)
    done = script.verbs.take()
    if script.machine.phase is Phase.OPENING:
        done += script.tell("opened", MESSAGES, [])
    done += script.tell("client_ends")
    assert "update" not in [verb for verb, *_ in done]
    assert_ends(script, "client_closed")


def test_a_client_that_closes_behind_a_message() -> None:
    """The end of the stream is seen only when the message in front of it has been sent."""
    script = in_transaction()
    script.says(b"NOOP\r\nRETR 1\r\nSTAT\r\n")
    script.tell("piece", b".\r\n", last=True)
    assert script.tell("proceed") == [("send", b"+OK 2 200\r\n")]
    assert script.tell("client_ends") == [LAST]
    assert_ends(script, "client_closed")


@pytest.mark.parametrize("deadline", ["idle", "session"])
@pytest.mark.parametrize("said", [b"", b"DELE 1\r\n", b"RETR 1\r\n"])
def test_whose_time_is_over_is_cut(deadline: str, said: bytes) -> None:
    """Without a word and without an UPDATE (RFC 1939 section 3)."""
    script = in_transaction()
    if said:
        script.says(said)
    assert script.tell("expired", deadline) == [("end", f"{deadline}_timeout", "")]
    assert script.now == (Phase.ENDED, Want.FACT)


@pytest.mark.parametrize("deadline", ["idle", "session"])
def test_no_time_is_over_between_quit_and_its_reply(deadline: str) -> None:
    """But that of the disk: what is deleted by then, the client is to know."""
    script = in_transaction()
    script.says(b"DELE 1\r\nQUIT\r\n")
    assert script.tell("expired", deadline) == []
    assert script.tell("updated", 1, 0, [])[1:] == [("send", b"+OK bye\r\n"), LAST]


def test_a_last_reply_that_is_not_taken() -> None:
    """It has its own time, then the session ends for the reason that it had; no other deadline counts any more."""
    script = in_transaction()
    script.says(b"QUIT\r\n")
    assert script.tell("expired", "idle") == []
    assert script.tell("expired", "step") == [("end", "quit", "")]


@pytest.mark.parametrize("said", [b"", REQUEST, REQUEST + b"UIDL\r\n", REQUEST + b"RETR 1\r\n", REQUEST + b"QUIT\r\n"])
def test_a_connection_that_breaks(said: bytes) -> None:
    """Wherever it breaks, the session ends once."""
    script = Script(said)
    if script.machine.phase is Phase.OPENING:
        script.tell("opened", MESSAGES * LINES_OF_A_PIECE, [])
    script.verbs.take()
    assert script.tell("reset") == [("end", "client_reset", "")]
