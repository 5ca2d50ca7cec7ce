"""pclean as its timer calls it: a process over mailboxes in which deliveries broke off and old mail lies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from popular.store.maildir.maildir import Maildir
from tests.patience import patient
from tests.system.site import wait_until

PCLEAN = (sys.executable, "-m", "popular.store.tools.pclean")
AS_NOBODY = """
import os, sys
from popular.store.tools.pclean import main, options
options()  # it imports what this user could not read
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(main())
"""
"""pclean as a user that may not read where the tests have it."""
PDELIVER = (sys.executable, "-m", "popular.store.tools.pdeliver")
HOUR = 3600
DAY = 24 * HOUR


def pclean(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*PCLEAN, "-m", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pop").mkdir()
    return tmp_path / "pop"


def put(root: Path, path: str, age: float, content: bytes = b"left over\r\n") -> Path:
    """A file below the root, in a mailbox that is made if need be, which nobody has touched for so long."""
    file = root / path
    for folder in ("tmp", "new", "cur"):
        (file.parents[1] / folder).mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    age_of(file, age)
    return file


def age_of(file: Path, age: float) -> None:
    os.utime(file, (time.time() - age,) * 2)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def broken_delivery(root: Path) -> Path:
    """What pdeliver leaves when it is killed in the middle of a mail."""
    command = [*PDELIVER, "-m", str(root), "-l", "/dev/null", "3/2d/joe"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as delivering:
        assert delivering.stdin is not None
        delivering.stdin.write(b"Subject: half\n" * 10_000)
        delivering.stdin.flush()
        folder = root / "3/2d/joe/tmp"
        wait_until(lambda: folder.is_dir() and any(file.stat().st_size for file in folder.iterdir()), "it has begun")
        delivering.send_signal(signal.SIGKILL)
    (file,) = folder.iterdir()
    return file


def test_what_a_broken_delivery_left_is_removed(root: Path) -> None:
    """When it is older than 36 hours, and not before: the delivery could be at work still. Mail stays."""
    left = broken_delivery(root)
    mail = Maildir(root, "3/2d/joe").deliver([b"x\r\n"])
    octets = left.stat().st_size
    age_of(left, 35 * HOUR)
    early = pclean(root)
    assert (early.returncode, early.stdout) == (0, "mailboxes 1; tmp 0 removed (0 octets), 1 younger\n")
    age_of(left, 37 * HOUR)
    done = pclean(root)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"mailboxes 1; tmp 1 removed ({octets} octets), 0 younger\n",
        "",
    )
    assert files(root) == {f"3/2d/joe/new/{mail.name}"}


def test_a_delivery_at_work_is_left_alone(root: Path) -> None:
    """One that has been writing for long is told by what it wrote last, and its mail arrives."""
    command = [*PDELIVER, "-m", str(root), "-l", "/dev/null", "joe"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as delivering:
        assert delivering.stdin is not None
        delivering.stdin.write(b"Subject: x\n\n" * 10_000)
        delivering.stdin.flush()
        wait_until(lambda: (root / "joe/tmp").is_dir() and any((root / "joe/tmp").iterdir()), "it has begun")
        assert pclean(root, "-t", "1h").stdout == "mailboxes 1; tmp 0 removed (0 octets), 1 younger\n"
        delivering.stdin.close()
        assert delivering.wait(patient(10)) == 0
    assert len(Maildir(root, "joe").list().messages) == 1


def test_a_dry_run_says_what_would_go(root: Path) -> None:
    """It tells the names and counts of the run after it, and nothing is removed."""
    put(root, "joe/tmp/1.a", 2 * DAY)
    put(root, "3/2d/ann/tmp/1.b", 2 * DAY, b"abc")
    put(root, "ann/tmp/1.c", HOUR)
    there = files(root)
    dry = pclean(root, "-n")
    assert dry.stdout.splitlines() == [
        "would remove 3/2d/ann/tmp/1.b (3 octets)",
        "would remove joe/tmp/1.a (11 octets)",
        "mailboxes 3; tmp 2 to be removed (14 octets), 1 younger",
    ]
    assert files(root) == there
    real = pclean(root, "-v")
    assert real.stdout == dry.stdout.replace("would remove", "removed").replace("to be removed", "removed")
    assert files(root) == {"ann/tmp/1.c"}


def test_old_mail_goes_only_if_asked(root: Path) -> None:
    """Each folder has its own limit; how old mail is, its name and its time both tell, and the younger counts."""
    now = int(time.time())
    put(root, f"joe/new/{now - 40 * DAY}.old", 40 * DAY)
    put(root, f"joe/cur/{now - 40 * DAY}.old:2,S", 40 * DAY)
    put(root, f"joe/cur/{now - 2 * DAY}.copied:2,S", 40 * DAY)
    put(root, f"joe/cur/{now - 40 * DAY}.restored:2,S", 2 * DAY)
    put(root, "joe/new/named-by-somebody-else", 40 * DAY)
    before = files(root)
    assert pclean(root).returncode == 0
    assert files(root) == before
    done = pclean(root, "--cur", "30d")
    assert done.stdout == ("mailboxes 1; tmp 0 removed (0 octets), 0 younger; cur 1 removed (11 octets), 2 younger\n")
    done = pclean(root, "--new", "30d", "--cur", "50d")
    assert "new 2 removed (22 octets), 0 younger; cur 0 removed (0 octets), 2 younger" in done.stdout
    assert files(root) == {
        f"joe/cur/{now - 2 * DAY}.copied:2,S",
        f"joe/cur/{now - 40 * DAY}.restored:2,S",
    }


def test_only_the_mailboxes_that_are_named(root: Path) -> None:
    """And those below them; one that does not exist is a fault, and the others are done."""
    for mailbox in ("joe", "a/ann", "a/b/bob", "zoe"):
        put(root, f"{mailbox}/tmp/1.x", 2 * DAY)
    done = pclean(root, "a", "nobody", "zoe")
    assert (done.returncode, done.stderr) == (1, "pclean: nobody: No such file or directory\n")
    assert done.stdout == "mailboxes 3; tmp 3 removed (33 octets), 0 younger; faults 1\n"
    assert files(root) == {"joe/tmp/1.x"}


def test_nothing_outside_is_touched(root: Path) -> None:
    """Whatever a user plants in his mailbox: links to folders, to files and to mailboxes lead nowhere."""
    outside = put(root.parent / "other", "victim/tmp/1.x", 2 * DAY)
    secret = root.parent / "secret"
    secret.write_text("precious")
    age_of(secret, 2 * DAY)
    (root / "linked").symlink_to(outside.parents[1])
    mailbox = put(root, "joe/tmp/1.mine", 2 * DAY).parents[1]
    (mailbox / "tmp/1.link").symlink_to(secret)
    (mailbox / "tmp/1.folder").mkdir()
    (mailbox / "deeper").symlink_to(outside.parents[1])
    bad = put(root, "ann/new/1.x", DAY).parents[1]
    (bad / "tmp").rmdir()
    (bad / "tmp").symlink_to(outside.parent)
    done = pclean(root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "mailboxes 1; tmp 1 removed (11 octets), 0 younger, 2 no files\n"
    assert outside.exists()
    assert secret.exists()
    assert os.path.lexists(mailbox / "tmp/1.link")


def test_a_name_does_not_steer_the_terminal(root: Path) -> None:
    """What a file is called is shown in one line, of printable characters."""
    put(root, "joe/tmp/1.\x1b[2J\nremoved everything\x7f\udcff", 2 * DAY)
    done = pclean(root, "-v")
    line, summary = done.stdout.splitlines()
    assert line == r"removed joe/tmp/1.\x1b[2J\x0aremoved everything\x7f\udcff (11 octets)"
    assert summary.startswith("mailboxes 1; tmp 1 removed")


def test_what_cannot_be_used_is_told(root: Path) -> None:
    """A mail root that is not there; a folder that another user keeps to himself; and the rest is done."""
    gone = pclean(root / "nowhere")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr == f"pclean: mail root {root / 'nowhere'}: No such file or directory\n"
    put(root, "zoe/tmp/1.x", 2 * DAY)
    kept = put(root, "joe/tmp/1.x", 2 * DAY)
    # To remove a file from a directory that is a mount, or belongs to another, fails; here the folder is immutable.
    kept.parent.chmod(0o500)
    command: list[str | Path] = [*PCLEAN, "-m", root]
    if not os.getuid():
        command = [sys.executable, "-c", AS_NOBODY, "-m", root]
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
        for path in (root.parent, *root.parent.parents[:-1]):
            if path.stat().st_uid == os.getuid():
                path.chmod(path.stat().st_mode | 0o055)
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30))
    assert done.returncode == 1
    assert done.stderr == "pclean: joe/tmp/1.x: Permission denied\n"
    assert done.stdout == "mailboxes 2; tmp 1 removed (11 octets), 0 younger; faults 1\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-t", "1m"], "does not fit; allowed: 1h to"),
        (["-t", "soon"], "is not a time"),
        (["--new", "-1d"], "--new"),
        (["../etc"], "mailbox name"),
        (["/etc"], "mailbox name"),
        (["--dry"], "unrecognized"),
    ],
)
def test_bad_command_lines(root: Path, arguments: list[str], said: str) -> None:
    """2, with the reason, and nothing is removed: an age of a minute would take mail that is being delivered."""
    left = put(root, "joe/tmp/1.x", 2 * DAY)
    done = pclean(root, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert left.exists()
