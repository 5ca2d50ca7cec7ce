"""`pstatus -l` on a real terminal (a pseudo-terminal): its keys, its colours, and the terminal as it was afterwards."""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metrics.terminal import ENTER, LEAVE
from supervisor.table.segment import Segment
from tests.metrics.sample import PASSING, WAITING
from tests.patience import PATIENCE
from tests.system.site import program, wait_until

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_STEERING = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


class Tty:
    """A pseudo-terminal with `pstatus -l` in it."""

    def __init__(self, *argv: object, size: tuple[int, int] = (100, 20), **environment: str) -> None:
        self.master, slave = os.openpty()
        self._slave = slave
        self.resize(*size)
        self.before = self.settings()
        words = [program("pstatus"), "-l", "0.2", *map(str, argv)]
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**kept, "TERM": "xterm-256color", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.output = ""

    def __enter__(self) -> "Tty":
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self.master)
        os.close(self._slave)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def settings(self) -> list[Any]:
        """The modes of the terminal."""
        return termios.tcgetattr(self.master)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self) -> None:
        while select.select([self.master], [], [], 0.02)[0]:
            self.output += os.read(self.master, 1 << 16).decode("utf-8", "replace")

    def screen(self) -> list[str]:
        """The last whole screen, without colours."""
        frames = self.output.split("\x1b[?2026h\x1b[H")
        whole = [frame.split("\x1b[J")[0] for frame in frames[1:] if "\x1b[J" in frame]
        return [_STEERING.sub("", line) for line in re.split("\r+\n", whole[-1])] if whole else []

    def shows(self, words: str) -> list[str]:
        """Waits until a line of the screen has these words; gives the screen."""
        deadline = time.monotonic() + PATIENCE
        while not any(words in line for line in self.screen()):
            assert time.monotonic() < deadline, (words, self.screen(), self.output[-500:])
            self.read()
        return self.screen()

    def end(self) -> int:
        """Waits until it has ended by itself; gives the exit code."""
        code = self.process.wait(PATIENCE)
        self.read()
        return code

    def assert_given_back(self) -> None:
        """The usual screen, a cursor, wrapping of lines, and the modes that were there before."""
        assert self.output.count(ENTER) == self.output.count(LEAVE) > 0
        assert not _STEERING.search(self.output.rpartition(LEAVE)[2])
        assert self.settings() == self.before


@pytest.fixture
def tty(rundir: Path) -> Iterator[Tty]:
    with Tty("--rundir", rundir) as made:
        made.shows("3 sessions")
        yield made


def column(screen: list[str], words: int = 0) -> list[str]:
    """The first words of the lines of the table."""
    lines = screen[4:-1]
    return [line.split()[words] for line in lines if line.strip()]


def test_shows_what_there_is(tty: Tty) -> None:
    """The state, the sessions, and the keys; it fills the screen, and no line is longer than that."""
    screen = tty.screen()
    assert len(screen) == 20
    assert screen[1].startswith("Serving 3 sessions   limit 150")
    assert column(screen) == ["0", "7", "150"]
    assert "q quit" in screen[-1]
    assert max(map(len, screen)) <= 100
    assert "\x1b[32mpassing mail on" in tty.output, "states are coloured"


def test_follows_the_program(tty: Tty, living: Segment) -> None:
    """A session that begins appears without a key, and counters become rates."""
    living.rows.write(
        20, state=PASSING, pid=4001, started=time.time(), since=time.time(), sid=b"p.4.4", user=b"anna", sent=1
    )
    screen = tty.shows("anna")
    assert screen[-1].startswith("4 sessions")
    tty.type("\t")
    tty.shows("a second")
    for _ in range(50):
        living.block(1)[living.counter_cells["octets"]] += 1000
        tty.read()
        line = next((line.split() for line in tty.screen() if line.startswith("octets")), [])
        if len(line) == 3 and float(line[2]) > 0:
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"no rate: {tty.screen()}")


def test_sorts(tty: Tty) -> None:
    """The arrows choose the column, r turns it round, and the head shows both."""
    assert tty.screen()[3].startswith("row ↑")
    tty.type("r")
    tty.shows("row ↓")
    assert column(tty.screen()) == ["150", "7", "0"]
    tty.type("\x1b[D")
    tty.shows("state ↑")
    tty.type("<<")
    assert column(tty.shows("user ↑")) == ["150", "0", "7"]
    tty.type("\x1b[C>>")
    tty.shows("row ↑")


def test_filters(tty: Tty) -> None:
    """A slash begins a filter, return keeps it, escape drops it; a column that is none is refused in words."""
    tty.type("/state=wx\x7fait")
    tty.shows("filter: state=wait_")
    tty.type("\r")
    screen = tty.shows("2 of 3 sessions  filter state=wait")
    assert column(screen) == ["7", "150"]
    tty.type("/colour=red\r")
    tty.shows('no column "colour"; there are: row pid')
    tty.type("\x1b")
    assert column(tty.shows("3 sessions  h help")) == ["0", "7", "150"]


def test_help_and_pause(tty: Tty, living: Segment) -> None:
    """h explains the keys and any key leaves that; paused, nothing moves, but the order can be changed."""
    tty.type("h")
    tty.shows("sort by the column to the left or right")
    tty.type("xp")
    tty.shows("paused")
    living.free_row(7, 4001)
    time.sleep(0.5)
    tty.type("r")
    assert column(tty.shows("row ↓")) == ["150", "7", "0"]
    tty.type(" ")
    assert column(tty.shows("2 sessions")) == ["150", "0"]


def test_scrolls(rundir: Path, living: Segment) -> None:
    """A table that is longer than the screen is scrolled, and not beyond its ends."""
    for row in range(100):
        living.rows.write(row, state=WAITING, pid=4000, started=0.0, since=0.0, sid=b"s", user=b"u", sent=0)
    with Tty("--rundir", rundir, size=(80, 15)) as tty:
        tty.shows("101 sessions")
        tty.type("\x1b[F")
        assert column(tty.shows("  150  "))[-1] == "150"
        tty.type("\x1b[A")
        assert column(tty.shows("   90   4000"))[0] == "90"
        tty.type("\x1b[6~\x1b[6~")
        tty.shows("  150  ")
        tty.type("\x1b[5~")
        assert column(tty.shows("   81   4000"))[0] == "81"
        tty.type("\x1b[H")
        assert column(tty.shows("    0   4000"))[0] == "0"


def test_the_window_changes_its_size(tty: Tty) -> None:
    """The next screen has the new size; columns that do not fit are left out, the one that is sorted by is not."""
    tty.resize(40, 8)
    wait_until(lambda: tty.read() or len(tty.screen()) == 8, "a screen of the new size")
    screen = tty.screen()
    assert max(map(len, screen)) <= 40
    assert "pid" not in screen[3]
    assert "row ↑" in screen[3]
    assert "state" in screen[3]
    tty.resize(2, 1)
    wait_until(lambda: tty.read() or len(tty.screen()) == 1, "a screen of one line")


@pytest.mark.parametrize(("key", "number"), [("q", None), ("\x03", None), ("\x04", None), ("", signal.SIGTERM)])
def test_gives_the_terminal_back(tty: Tty, key: str, number: signal.Signals | None) -> None:
    """q, Ctrl-C, Ctrl-D and SIGTERM: exit 0, no traceback, and the terminal is as it was."""
    assert tty.settings() != tty.before
    if number:
        tty.process.send_signal(number)
    else:
        tty.type(key)
    assert tty.end() == 0
    tty.assert_given_back()
    assert "Traceback" not in tty.output


def test_is_stopped_and_goes_on(tty: Tty) -> None:
    """Ctrl-Z gives the terminal back to the shell; `fg` brings the table again."""
    tty.type("\x1a")
    stat = Path(f"/proc/{tty.process.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
    tty.read()
    tty.assert_given_back()
    tty.output = ""
    tty.process.send_signal(signal.SIGCONT)
    tty.shows("3 sessions")
    assert tty.output.startswith(ENTER)
    tty.type("q")
    assert tty.end() == 0
    tty.assert_given_back()


def test_the_program_is_away(tty: Tty, rundir: Path) -> None:
    """A restart of the program costs a line at the foot, and not the view."""
    (rundir / "pproxy.state").rename(rundir / "away")
    assert column(tty.shows("no such file")) == ["0", "7", "150"]
    (rundir / "away").rename(rundir / "pproxy.state")
    tty.shows("3 sessions  h help")


def test_no_colour(rundir: Path) -> None:
    """NO_COLOR: nothing but bold and reversed."""
    with Tty("--rundir", rundir, NO_COLOR="1") as tty:
        tty.shows("3 sessions")
        assert set(_STYLE.findall(tty.output)) <= {"\x1b[0m", "\x1b[1m", "\x1b[7m"}


def test_a_dumb_terminal_gets_plain_text(rundir: Path) -> None:
    """Where there is no way to steer the screen, -l lists again and again."""
    with Tty("--rundir", rundir, "-a", TERM="dumb") as tty:
        wait_until(lambda: tty.read() or tty.output.count("müller") >= 2, "two listings")
        assert "\x1b" not in tty.output


def test_names_do_not_steer_the_terminal(rundir: Path, living: Segment) -> None:
    """What a stranger calls himself, and what is typed as a filter, is shown without its power."""
    living.rows.write(
        3, state=WAITING, pid=4000, started=0.0, since=0.0, sid=b"p.4.4", user=b"\x1b[2Jx\ny\xe2\x80\xae", sent=0
    )
    with Tty("--rundir", rundir) as tty:
        tty.shows("?[2Jx?y?")
        assert "\x1b[2J" not in tty.output


def test_an_unknown_column_is_told_before_the_screen_is_taken(rundir: Path) -> None:
    """Exit 2 and a command; the terminal was never touched."""
    with Tty("--rundir", rundir, "--sort", "colour") as tty:
        assert tty.end() == 2
        assert tty.output.startswith('pstatus: there is no column "colour"')
