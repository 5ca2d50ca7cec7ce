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
            watch.open = 0
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
        (["STAT\r\n", b"+OK 0 0\r\n"], False),
    ],
)
def test_whether_quit_was_answered(said: list[str | bytes], answered: bool) -> None:
    """By a status, after the answers to all that was sent ahead of it."""
    assert watched(*said).quit_answered is answered


def test_deletions_are_counted_until_rset() -> None:
    """However the commands are cut."""
    assert watched("DELE 1\r\nDE", "LE 2\r\n").deletes == 2
    assert watched("DELE 1\r\nRSET\r\n").deletes == 0


@pytest.mark.parametrize("mail", [b"+OK\r\n\r\n.\r\n", b"+OK\r\n.\r\n", b"+OK\r\n.. \r\n\r\r\n.\r\n"])
def test_the_end_of_a_mail_is_seen_in_whatever_pieces(mail: bytes) -> None:
    """At its last octet, and not before; a beginning of it is no end."""
    for size in range(1, len(mail) + 1):
        seen = [0]
        for start in range(0, len(mail), size):
            seen.append(seen_of_mail_end(seen[-1], mail[start : start + size]))
        assert [one == len(MAIL_END) for one in seen] == [False] * (len(seen) - 1) + [True], size
