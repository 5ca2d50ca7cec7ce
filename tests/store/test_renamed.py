"""A mail reader sets a flag, which renames the file, while a session knows it by its old name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from popular.store.maildir.listing import CUR, NEW, StoredMessage
from popular.store.maildir.maildir import Maildir, MessageGone
from popular.store.messages import DELETE_FAILED

BASE = "1700000000.M1P1.host"
LATER = "1700000001.M1P1.host"


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], Path]:
    """Makes a file of the mailbox `joe`."""

    def make(folder: str, name: str) -> Path:
        for each in (NEW, CUR, "tmp"):
            (tmp_path / "joe" / each).mkdir(parents=True, exist_ok=True)
        file = tmp_path / "joe" / folder / name
        file.write_bytes(b"x\r\n")
        return file

    return make


def listed(root: Path) -> tuple[Maildir, list[StoredMessage]]:
    maildir = Maildir(root, "joe")
    return maildir, maildir.list().messages


@pytest.mark.parametrize(("folder", "was", "now"), [(NEW, "", "cur/%s:2,S"), (CUR, ":2,S", "cur/%s:2,RS")])
def test_a_message_is_the_same_with_other_flags(
    put: Callable[[str, str], Path], tmp_path: Path, folder: str, was: str, now: str
) -> None:
    """RETR reads it, DELE and QUIT remove it, and nothing else."""
    file, other = put(folder, BASE + was), put(NEW, LATER)
    maildir, messages = listed(tmp_path)
    file.rename(tmp_path / "joe" / (now % BASE))
    with maildir.open(messages[0]) as content:
        assert content.read() == b"x\r\n"
    assert maildir.update([messages[0]], []) == (1, 0, 0, 0, [])
    assert [path for path in (tmp_path / "joe").rglob("*") if path.is_file()] == [other]


def test_of_two_files_neither_is_taken_for_the_message(put: Callable[[str, str], Path], tmp_path: Path) -> None:
    """QUIT is answered with -ERR, and nobody's mail is removed in the place of another."""
    file = put(CUR, BASE + ":2,")
    maildir, messages = listed(tmp_path)
    file.unlink()
    put(CUR, BASE + ":2,S"), put(CUR, BASE + ":2,R")
    updated = maildir.update(messages, [])
    assert (updated.removed, updated.vanished, updated.failed) == (0, 0, 1)
    assert [note.message for note in updated.notes] == [DELETE_FAILED]
    assert len(maildir.list().messages) == 2


def test_one_that_is_gone_is_gone(put: Callable[[str, str], Path], tmp_path: Path) -> None:
    """A name that only begins alike is another message's."""
    file = put(NEW, BASE)
    put(NEW, BASE + "2")
    maildir, messages = listed(tmp_path)
    file.unlink()
    with pytest.raises(MessageGone):
        maildir.open(messages[0])
    assert maildir.update(messages[:1], []) == (0, 0, 1, 0, [])
