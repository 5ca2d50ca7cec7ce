"""The extended Maildir, on real directories."""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popular.protocol.mailcheck import Mail
from popular.protocol.xpop import BadMailboxName
from popular.store.maildir.listing import CUR, NEW, StoredMessage
from popular.store.maildir.maildir import MailboxError, Maildir, MessageGone
from popular.store.messages import (
    DELETE_FAILED,
    FOLDER_MISSING,
    MOVE_FAILED,
    NOT_A_MESSAGE,
    SAME_UID,
)
from tests.patience import patient


@pytest.fixture
def joe(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path, "joe")


@contextmanager
def ordinary_user(place: Path) -> Iterator[None]:
    """Within this, root is nobody, who owns `place`."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(place, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def put(maildir: Maildir, root: Path, folder: str, name: str, content: bytes = b"") -> None:
    for sub in ("new", "cur", "tmp"):
        (root / maildir.name / sub).mkdir(parents=True, exist_ok=True)
    (root / maildir.name / folder / name).write_bytes(content)


def names(maildir: Maildir) -> list[str]:
    return [message.name for message in maildir.list().messages]


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


class TestList:
    def test_a_mailbox_that_does_not_exist_is_empty(self, tmp_path: Path) -> None:
        """A user without mail yet has no directory, at any depth; looking makes none."""
        for name in ("joe", "3/2d/joe"):
            assert Maildir(tmp_path, name).list() == ([], [])
            assert Maildir(tmp_path, name).has_mail() is Mail.NONE
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_root_is_an_error(self, tmp_path: Path) -> None:
        """A mail root that is not mounted must not make every mailbox look empty."""
        lost = Maildir(tmp_path / "pop", "joe")
        for handler in (lost.list, lost.has_mail, lambda: lost.update([], []), lambda: lost.deliver([b"x\r\n"])):
            with pytest.raises(MailboxError, match=r"mailbox joe: mail root .*: No such file"):
                handler()
        assert not (tmp_path / "pop").exists()

    @pytest.mark.parametrize("barred", ["joe", "joe/new", "joe/cur"])
    def test_an_unreadable_mailbox_is_an_error(self, barred: str) -> None:
        """Never mistaken for an empty one."""
        # Not in tmp_path: an ordinary user, which root must become to be refused anything, cannot reach that.
        with tempfile.TemporaryDirectory() as place, ordinary_user(Path(place)):
            joe = Maildir(Path(place), "joe")
            joe.deliver([b"x\r\n"])
            joe.update([], joe.list().messages)
            (Path(place) / barred).chmod(0)
            for handler in (joe.list, joe.has_mail):
                with pytest.raises(MailboxError, match="Permission denied"):
                    handler()
            (Path(place) / barred).chmod(0o700)

    def test_a_file_in_the_place_of_a_mailbox_is_an_error(self, tmp_path: Path) -> None:
        """Never mistaken for an empty mailbox, at any step of the path."""
        (tmp_path / "joe").write_bytes(b"")
        for name in ("joe", "joe/deeper"):
            with pytest.raises(MailboxError, match="joe is not a directory"):
                Maildir(tmp_path, name).list()
            with pytest.raises(MailboxError, match="joe is not a directory"):
                Maildir(tmp_path, name).has_mail()

    def test_sizes_come_from_the_names(self, joe: Maildir, tmp_path: Path) -> None:
        """No stat is made: the size in the name counts, whatever the file holds."""
        put(joe, tmp_path, NEW, "945113196.14341_1067", b"short")
        put(joe, tmp_path, CUR, "945113195.1_99999")
        assert joe.list() == (
            [
                StoredMessage(99999, "945113195.1_99999", CUR, name="945113195.1_99999"),
                StoredMessage(1067, "945113196.14341_1067", NEW, name="945113196.14341_1067"),
            ],
            [],
        )

    def test_a_name_without_a_size_is_asked_for_it(self, joe: Maildir, tmp_path: Path) -> None:
        """Mail from other deliverers is listed with the size of its file."""
        put(joe, tmp_path, NEW, "200.M1P2.host", b"12345")
        put(joe, tmp_path, CUR, "100.M1P2.host,S=9:2,S", b"123")
        assert [(m.size, m.uid) for m in joe.list().messages] == [(3, "100.M1P2.host,S=9"), (5, "200.M1P2.host")]

    def test_a_name_without_a_time_is_ordered_by_the_files_time(self, joe: Maildir, tmp_path: Path) -> None:
        """The time of arrival is then that of the file."""
        put(joe, tmp_path, NEW, "100.1_0")
        put(joe, tmp_path, NEW, "300.1_0")
        put(joe, tmp_path, NEW, "hello_7", b"1234")
        os.utime(tmp_path / "joe" / "new" / "hello_7", (200, 200))
        assert names(joe) == ["100.1_0", "hello_7", "300.1_0"]
        assert joe.list().messages[1].size == 4

    def test_order_is_that_of_arrival_as_a_number(self, joe: Maildir, tmp_path: Path) -> None:
        """999999999 came before 1000000000, and microseconds count where the name tells them."""
        put(joe, tmp_path, NEW, "1000000000.1_1")
        put(joe, tmp_path, NEW, "999999999.1_1")
        put(joe, tmp_path, NEW, "1000000001.9-000001-00000000_1")
        put(joe, tmp_path, CUR, "1000000001.1-000002-00000000_1")
        assert [name.split("_")[0] for name in names(joe)] == [
            "999999999.1",
            "1000000000.1",
            "1000000001.9-000001-00000000",
            "1000000001.1-000002-00000000",
        ]

    @pytest.mark.parametrize(
        "form", ["1700000000.M{}P7.host,S=1,W=1", "1700000000.V801I1c4d5M{}.host", "1700000000.M{}P7Q1.host"]
    )
    def test_microseconds_of_others_are_numbers_too(self, joe: Maildir, tmp_path: Path, form: str) -> None:
        """Dovecot, Postfix and maildrop write them without leading zeros."""
        arrived = [form.format(micros) for micros in (7, 20046, 99999, 100000, 987654)]
        for name in reversed(arrived):
            put(joe, tmp_path, "new", name, b"x")
        assert names(joe) == arrived

    def test_the_unique_id_survives_the_move_to_cur(self, joe: Maildir, tmp_path: Path) -> None:
        """A mail that was read is the same mail to a client that keeps mail on the server."""
        put(joe, tmp_path, NEW, "100.1_0")
        put(joe, tmp_path, NEW, "101.a~\xff_0")
        before = joe.list().messages
        assert joe.update([], before).moved == 2
        after = joe.list().messages
        assert [m.folder for m in after] == [CUR, CUR]
        assert [m.uid for m in after] == [m.uid for m in before]

    @pytest.mark.parametrize("name", ["100.1 2_3", "100." + "x" * 80 + "_3", "100.\u00e4_3", "100.\t_3"])
    def test_a_name_that_is_no_unique_id_gets_one(self, joe: Maildir, tmp_path: Path, name: str) -> None:
        """RFC 1939 section 7: 1 to 70 characters from 0x21 to 0x7E."""
        put(joe, tmp_path, NEW, name)
        (message,) = joe.list().messages
        assert re.fullmatch(r"[!-~]{1,70}", message.uid)
        assert message.name == name
        assert joe.list().messages == [message]

    def test_a_name_that_is_not_unicode_is_listed_and_opened(self, joe: Maildir, tmp_path: Path) -> None:
        """File names are octets."""
        put(joe, tmp_path, NEW, "1.1_0")
        odd = os.fsencode(tmp_path) + b"/joe/new/2.\xff\xfe_3"
        Path(os.fsdecode(odd)).write_bytes(b"abc")
        message = joe.list().messages[1]
        assert re.fullmatch(r"[!-~]{1,70}", message.uid)
        with joe.open(message) as content:
            assert content.read() == b"abc"
        assert joe.update([message], []).removed == 1

    def test_one_message_met_in_both_folders_is_listed_once(self, joe: Maildir, tmp_path: Path) -> None:
        """Another session may be moving it."""
        put(joe, tmp_path, NEW, "100.1_5")
        put(joe, tmp_path, CUR, "100.1_5")
        put(joe, tmp_path, CUR, "100.1_5:2,S")
        listing = joe.list()
        assert {m.folder for m in listing.messages} == {CUR}
        assert len({m.uid for m in listing.messages}) == len(listing.messages) == 2
        assert [note.message for note in listing.notes] == [SAME_UID]

    def test_what_is_no_message_is_noted_and_not_listed(self, joe: Maildir, tmp_path: Path) -> None:
        """Directories, links, and FIFOs are told to the administrator; hidden files are nobody's business."""
        put(joe, tmp_path, NEW, "100.1_5")
        new = tmp_path / "joe" / "new"
        (new / "folder").mkdir()
        (new / "link").symlink_to("/etc/passwd")
        os.mkfifo(new / "fifo")
        (new / ".hidden").touch()
        listing = joe.list()
        assert [m.name for m in listing.messages] == ["100.1_5"]
        assert sorted(note.file for note in listing.notes) == ["fifo", "folder", "link"]
        assert {note.message for note in listing.notes} == {NOT_A_MESSAGE}

    def test_a_missing_folder_is_noted(self, joe: Maildir, tmp_path: Path) -> None:
        """A half-made mailbox can be read."""
        put(joe, tmp_path, NEW, "100.1_5")
        (tmp_path / "joe" / "cur").rmdir()
        listing = joe.list()
        assert len(listing.messages) == 1
        assert [(note.message, note.file) for note in listing.notes] == [(FOLDER_MISSING, "cur")]

    @given(
        st.sets(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60), max_size=6)
    )
    def test_unique_ids_are_unique_whatever_the_names(
        self, tmp_path_factory: pytest.TempPathFactory, chosen: set[str]
    ) -> None:
        """Each listed file has an id of its own that RFC 1939 allows, and the order is the same each time."""
        root = tmp_path_factory.mktemp("pop")
        maildir = Maildir(root, "joe")
        fitting = [name for name in chosen if name not in (".", "..") and len(os.fsencode(name)) <= 255]
        for index, name in enumerate(fitting):
            put(maildir, root, (NEW, CUR)[index % 2], name)
        messages = maildir.list().messages
        assert len({m.uid for m in messages}) == len(messages)
        assert all(re.fullmatch(r"[!-~]{1,70}", m.uid) for m in messages)
        assert maildir.list().messages == messages
        own = {name.partition(":")[0] for name in fitting if not name.startswith(".")}
        assert {m.name.partition(":")[0] for m in messages} == own


class TestHasMail:
    def test_the_three_answers(self, joe: Maildir, tmp_path: Path) -> None:
        """New mail counts more than read mail; what is not yet delivered, or hidden, does not count."""
        put(joe, tmp_path, "tmp", "1.1")
        put(joe, tmp_path, NEW, ".hidden")
        assert joe.has_mail() is Mail.NONE
        put(joe, tmp_path, CUR, "1.1_0")
        assert joe.has_mail() is Mail.ONLY_READ
        put(joe, tmp_path, NEW, "2.1_0")
        assert joe.has_mail() is Mail.NEW


class TestBounds:
    @pytest.mark.parametrize("name", ["../joe", "/etc", "a/../../b", "", ".", "joe\0"])
    def test_names_that_lead_out_are_refused(self, tmp_path: Path, name: str) -> None:
        """Before any file is touched."""
        with pytest.raises(BadMailboxName):
            Maildir(tmp_path, name)

    @pytest.mark.parametrize("link", ["joe", "3", "3/joe", "3/joe/new", "3/joe/cur", "3/joe/tmp"])
    def test_no_link_below_the_root_is_followed(self, tmp_path: Path, link: str) -> None:
        """Neither to read nor to deliver, wherever in the path the link stands."""
        outside = tmp_path / "outside"
        for sub in ("new", "cur", "tmp", "joe/new", "joe/cur", "joe/tmp"):
            (outside / sub).mkdir(parents=True, exist_ok=True)
        (outside / "new" / "1.1_3").write_bytes(b"abc")
        (outside / "joe" / "new" / "1.1_3").write_bytes(b"abc")
        root = tmp_path / "pop"
        (root / link).parent.mkdir(parents=True)
        (root / link).symlink_to(outside)
        maildir = Maildir(root, "joe" if link == "joe" else "3/joe")
        before = files(outside)
        with pytest.raises(MailboxError, match="symbolic link"):
            maildir.deliver([b"x\r\n"])
        if not link.endswith("tmp"):
            with pytest.raises(MailboxError, match="symbolic link"):
                maildir.list()
            with pytest.raises(MailboxError, match="symbolic link"):
                maildir.has_mail()
            with pytest.raises(MailboxError, match="symbolic link"):
                maildir.update([StoredMessage(3, "1.1_3", NEW, name="1.1_3")], [])
        assert files(outside) == before

    def test_a_message_that_is_a_link_is_not_read(self, joe: Maildir, tmp_path: Path) -> None:
        """Even if its name looks like a message's."""
        put(joe, tmp_path, NEW, "1.1_0")
        (tmp_path / "joe" / "new" / "2.1_9").symlink_to("/etc/passwd")
        link = joe.list().messages[1]
        with pytest.raises(MailboxError):
            joe.open(link)

    @pytest.mark.timeout(patient(10))
    def test_a_message_that_is_a_fifo_does_not_block(self, joe: Maildir, tmp_path: Path) -> None:
        """Opening it is an error at once."""
        put(joe, tmp_path, NEW, "1.1_0")
        os.mkfifo(tmp_path / "joe" / "new" / "2.1_9")
        with pytest.raises(MailboxError, match="not a regular file"):
            joe.open(joe.list().messages[1])

    def test_the_root_itself_may_be_a_link(self, tmp_path: Path) -> None:
        """Where the mail lies is its owner's choice."""
        (tmp_path / "disk").mkdir()
        (tmp_path / "pop").symlink_to("disk")
        Maildir(tmp_path / "pop", "joe").deliver([b"x\r\n"])
        assert Maildir(tmp_path / "disk", "joe").has_mail() is Mail.NEW

    def test_no_descriptor_stays_open(self, joe: Maildir, tmp_path: Path) -> None:
        """Neither after success nor after failure."""
        (tmp_path / "file").touch()

        def use() -> None:
            message = joe.deliver([b"x\r\n"])
            joe.open(message).close()
            joe.list()
            joe.has_mail()
            joe.update([message], [])
            for bad in (Maildir(tmp_path, "file"), Maildir(tmp_path, "file/x"), Maildir(tmp_path / "none", "joe")):
                for handler in (bad.list, lambda bad=bad: bad.deliver([b"x\r\n"])):
                    with pytest.raises(MailboxError):
                        handler()

        use()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            use()
        assert len(os.listdir("/proc/self/fd")) == before


class TestUpdate:
    def test_deleted_go_and_retrieved_become_read(self, joe: Maildir, tmp_path: Path) -> None:
        """Deleted messages are removed from either folder; retrieved ones move from new to cur."""
        for folder, name in ((NEW, "1.1_0"), (NEW, "2.1_0"), (CUR, "3.1_0"), (CUR, "4.1_0")):
            put(joe, tmp_path, folder, name)
        one, two, three, four = joe.list().messages
        assert joe.update([one, three], [two, four]) == (2, 1, 0, 0, [])
        assert files(tmp_path / "joe") == ["cur/2.1_0", "cur/4.1_0"]

    def test_without_retrieved_messages_new_mail_stays_new(self, joe: Maildir, tmp_path: Path) -> None:
        """This is what a master session does: deleted mail really goes."""
        put(joe, tmp_path, NEW, "1.1_0")
        put(joe, tmp_path, NEW, "2.1_0")
        one, _two = joe.list().messages
        joe.update([one], [])
        assert files(tmp_path / "joe") == ["new/2.1_0"]

    def test_a_message_that_vanished_is_counted_and_no_error(self, joe: Maildir, tmp_path: Path) -> None:
        """Another session removed it, or moved it: then it is removed where it is now."""
        for number in range(1, 5):
            put(joe, tmp_path, NEW, f"{number}.1_0")
        one, two, three, four = joe.list().messages
        new, cur = tmp_path / "joe" / "new", tmp_path / "joe" / "cur"
        (new / one.name).unlink()
        (new / two.name).rename(cur / two.name)
        (new / three.name).unlink()
        assert joe.update([one, two, four], [three]) == (2, 0, 2, 0, [])
        assert files(tmp_path) == []

    def test_a_mailbox_that_vanished_is_no_error(self, joe: Maildir, tmp_path: Path) -> None:
        """All of its messages count as vanished."""
        put(joe, tmp_path, NEW, "1.1_0")
        messages = joe.list().messages
        (tmp_path / "joe").rename(tmp_path / "gone")
        assert joe.update(messages, messages) == (0, 0, 2, 0, [])

    def test_what_cannot_be_removed_is_counted_as_failed(self, joe: Maildir, tmp_path: Path) -> None:
        """QUIT then is answered with -ERR; the others are removed all the same."""
        put(joe, tmp_path, NEW, "1.1_0")
        put(joe, tmp_path, NEW, "2.1_0")
        one, two = joe.list().messages
        (tmp_path / "joe" / "new" / one.name).unlink()
        (tmp_path / "joe" / "new" / one.name).mkdir()
        updated = joe.update([one, two], [])
        assert updated[:4] == (1, 0, 0, 1)
        assert [(note.message, note.file) for note in updated.notes] == [(DELETE_FAILED, one.name)]

    def test_what_cannot_be_moved_is_noted(self, joe: Maildir, tmp_path: Path) -> None:
        """It stays new; the user loses nothing."""
        put(joe, tmp_path, NEW, "1.1_0")
        (tmp_path / "joe" / "cur").rmdir()
        updated = joe.update([], joe.list().messages)
        assert updated[:4] == (0, 0, 0, 0)
        assert [note.message for note in updated.notes] == [MOVE_FAILED]
        assert files(tmp_path / "joe") == ["new/1.1_0"]

    def test_open_follows_a_message_and_tells_when_it_is_gone(self, joe: Maildir, tmp_path: Path) -> None:
        """RETR works while another session moves the message; if it was removed the error says so."""
        message = joe.deliver([b"abc\r\n"])
        joe.update([], [message])
        with joe.open(message) as content:
            assert content.read() == b"abc\r\n"
        joe.update([message], [])
        with pytest.raises(MessageGone):
            joe.open(message)
        (tmp_path / "joe").rename(tmp_path / "gone")
        with pytest.raises(MessageGone):
            joe.open(message)


class TestDeliver:
    def test_a_delivery_makes_the_mailbox(self, tmp_path: Path) -> None:
        """At any depth, for its owner only; nothing stays in tmp."""
        maildir = Maildir(tmp_path, "3/2d/joe")
        message = maildir.deliver([b"Subject: x\r\n", b"", b"\r\nhello\r\n"])
        assert message.size == 21
        assert re.fullmatch(rf"\d+\.{os.getpid()}-\d{{6}}-[0-9a-f]{{8}}_21", message.name)
        assert files(tmp_path) == [f"3/2d/joe/new/{message.name}"]
        assert (tmp_path / "3/2d/joe/new" / message.name).read_bytes() == b"Subject: x\r\n\r\nhello\r\n"
        assert (tmp_path / "3/2d/joe/new" / message.name).stat().st_mode & 0o777 == 0o600
        assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_dir()} == {0o700}
        assert maildir.list() == ([message], [])

    def test_a_failed_delivery_leaves_no_trace(self, joe: Maildir, tmp_path: Path) -> None:
        """Whatever goes wrong while the mail comes in."""

        def breaking() -> "list[bytes]":
            raise RuntimeError("the sender died")

        with pytest.raises(RuntimeError):
            joe.deliver(chunk for _ in range(1) for chunk in breaking())
        assert files(tmp_path) == []

    def test_a_file_that_is_there_is_never_replaced(
        self, joe: Maildir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If, against all odds, two deliveries choose the same name, the second one fails and the first mail stays."""
        monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_456_789)
        monkeypatch.setattr("os.urandom", bytes)
        first = joe.deliver([b"first\r\n"])
        with pytest.raises(MailboxError, match="File exists"):
            joe.deliver([b"other\r\n"])
        assert files(tmp_path) == [f"joe/new/{first.name}"]
        assert (tmp_path / "joe/new" / first.name).read_bytes() == b"first\r\n"

    def test_equal_pids_at_the_same_moment(self, joe: Maildir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Two containers on one volume, both with pid 1, deliver in the same microsecond: both mails are there."""
        monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_456_789)
        for number in range(50):
            joe.deliver([b"%04d\r\n" % number])
        listed = joe.list().messages
        assert len({m.uid for m in listed}) == 50
        assert {(tmp_path / "joe/new" / m.name).read_bytes() for m in listed} == {b"%04d\r\n" % n for n in range(50)}

    def test_deliveries_of_one_second_keep_their_order(self, joe: Maildir) -> None:
        """The microseconds in the name tell which came first."""
        delivered = [joe.deliver([b"x\r\n"]).uid for _ in range(20)]
        assert [message.uid for message in joe.list().messages] == delivered

    def test_readers_never_miss_a_message_that_is_being_moved(self, joe: Maildir) -> None:
        """While one session marks mail as read, others always list all of it, each message once."""
        delivered = {joe.deliver([b"x\r\n"]).uid for _ in range(60)}
        stop = threading.Event()
        seen: list[set[str]] = []

        def read() -> None:
            while not stop.is_set():
                messages = joe.list().messages
                assert len(messages) == len({m.uid for m in messages})
                seen.append({m.uid for m in messages})

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for message in joe.list().messages:
                joe.update([], [message])
        finally:
            stop.set()
            reader.join(patient(10))
        assert seen
        assert all(found == delivered for found in seen)
