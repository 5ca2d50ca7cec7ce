"""What a logged-in client has said, and whether its QUIT was answered."""

import pytest

from popular.protocol.watch import MAIL_END, CommandWatch, seen_of_mail_end


def watched(*said: str | bytes) -> CommandWatch:
    """A dialogue: what the client says is a text, what the backend answers are octets."""
    watch = CommandWatch()
    for piece in said:
        if isinstance(piece, str):
            watch.see(piece.encode())
        elif watch.quit:
            watch.hear(piece)
        else:
            watch.spoke()
    return watch


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (["QUIT\r\n"], False),
        (["QUIT\r\n", b"+OK bye\r\n"], True),
        (["QU", "IT\r\n", b"+O", b"K bye\r", b"\n"], True),
        (["QUIT\r\n", b"-ERR some deleted messages not removed\r\n"], True),
        (["quit\r\n", b"+OK by"], False),
        (["STAT\r\n", b"+OK 0 0\r\n", "QUIT\r\n"], False),
        (["RETR 1\r\n", b"+OK\r\nmuch", "QUIT\r\n", b"more\r\n.\r\n"], False),
        (["RETR 1\r\n", b"+OK\r\nmuch", "QUIT\r\n", b"more\r\n.\r\n+OK\r\n"], True),
        (["DELE 1\r\nDELE 2\r\nQUIT\r\n", b"+OK\r\n", b"+OK\r\n"], False),
        (["DELE 1\r\nDELE 2\r\nQUIT\r\n", b"+OK\r\n+OK\r\n+OK\r\n"], True),
        (["DELE 1\r\n", "QUIT\r\n", b"+OK\r\n"], False),
        (["LIST\r\nQUIT\r\n", b"+OK\r\n1 2\r\n.\r\n"], False),
        (["LIST\r\nQUIT\r\n", b"+OK\r\n1 2\r\n.\r\n+OK bye\r\n"], True),
        (["QUIT\r\nQUIT\r\nNOOP\r\n", b"+OK\r\n"], True),
        (["QUIT now\r\n", b"-ERR what?\r\n", "QUIT\r\n"], False),
        (["QUIT now\r\nQUIT\r\n", b"-ERR what?\r\n"], False),
        (["QUIT now\r\nQUIT\r\n", b"-ERR what?\r\n+OK bye\r\n"], True),
        (["RETR 1\r\nQUIT\r\n", b"+OK\r\n+OK\r\n", b"+OK\r\n.\r\n+OK bye\r\n"], True),
        (["STAT\r\n", b"+OK 0 0\r\n"], False),
    ],
)
def test_whether_quit_was_answered(said: list[str | bytes], answered: bool) -> None:
    """By a status, after the answers to all that was sent ahead of it."""
    assert watched(*said).quit_answered is answered


@pytest.mark.parametrize(
    "said", ["QUIT\r\n", "quit \r\n", "\tQUIT\n", " \t QuIt\t \r\n", "QUIT now\r\n", "NOOP\r\n  QUIT\r\n"]
)
@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_what_is_a_quit(said: str, size: int) -> None:
    """The word, whatever blanks are around it, and in whatever pieces: a store that skips them obeys it."""
    watch = watched(*(said[start : start + size] for start in range(0, len(said), size)))
    assert watch.quit
    assert not watch.is_in_line


@pytest.mark.parametrize("said", ["QUITX\r\n", "QUI\r\n", "Q UIT\r\n", "NOOP QUIT\r\n", "NOOP\r\n\r\n \r\n", "QUIT"])
@pytest.mark.parametrize("size", [1, 5, 40])
def test_what_is_none(said: str, size: int) -> None:
    """Whoever says it can still be kicked."""
    assert not watched(*(said[start : start + size] for start in range(0, len(said), size))).quit


@pytest.mark.parametrize(
    "line", ["Q", "qu", "QUI", "QUIT", "QUIT ", "QUIT \t ", "QUIT\r", " ", " \t Q", "STAT\r\nQ", "QUIT now\r\nQ"]
)
def test_what_may_become_a_quit(line: str) -> None:
    """A line has begun, and what is missing could make it one."""
    assert watched(line).may_become_quit


@pytest.mark.parametrize("line", ["", "N", "QX", " N", "QUITX", "QUITX ", "QUIT\r\n", "Q\r\nNO"])
def test_what_cannot_become_one(line: str) -> None:
    """Half of anything else is not waited for."""
    assert not watched(line).may_become_quit


@pytest.mark.parametrize(
    "said",
    [
        ["QUIT now\r\n", b"-ERR what?\r\n", "STAT\r\n", b"+OK 0 0\r\n"],
        ["QUIT\r\nSTAT\r\n", b"+OK\r\n", b"+OK 0 0\r\n"],
        ["QUIT\r\nSTAT\r\n", b"+OK\r\n+OK 0 0\r\n+OK\r\n"],
        ["QUIT x\r\nQUIT x\r\nRETR 1\r\n", b"-ERR\r\n-ERR\r\n", b"+OK\r\nmuch\r\n"],
    ],
)
def test_a_quit_that_was_none_is_taken_back(said: list[str | bytes]) -> None:
    """The store has answered what came after it, and so it goes on: the next QUIT begins anew."""
    watch = watched(*said)
    assert not watch.quit
    assert not watch.quit_answered
    watch.see(b"QUIT\r\n")
    assert watch.quit
    assert not watch.quit_answered
    watch.hear(b"+OK bye\r\n")
    assert watch.quit_answered


def test_deletions_are_counted_until_rset() -> None:
    """However the commands are cut, and whatever blanks are in front of them."""
    assert watched("DELE 1\r\nDE", "LE 2\r\n").deletes == 2
    assert watched(" DELE 1\r\n", "\tDE", "LE 2\r\n").deletes == 2
    assert watched("DELE 1\r\nRSET\r\n").deletes == 0


@pytest.mark.parametrize("mail", [b"+OK\r\n\r\n.\r\n", b"+OK\r\n.\r\n", b"+OK\r\n.. \r\n\r\r\n.\r\n"])
def test_the_end_of_a_mail_is_seen_in_whatever_pieces(mail: bytes) -> None:
    """At its last octet, and not before; a beginning of it is no end."""
    for size in range(1, len(mail) + 1):
        seen = [0]
        for start in range(0, len(mail), size):
            seen.append(seen_of_mail_end(seen[-1], mail[start : start + size]))
        assert [one == len(MAIL_END) for one in seen] == [False] * (len(seen) - 1) + [True], size
