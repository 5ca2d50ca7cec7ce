"""A terminal that belongs to us for a while: the alternate screen, keys one by one, and everything put back at the end.

    with Terminal(colours=True) as terminal:
        terminal.show(lines)                    the whole screen at once, without flicker
        for key in terminal.keys(seconds): …    "q", "left", "page up", "return"

Whatever ends the block (a key, Ctrl-C, SIGTERM, an error) gives the terminal back as it was; Ctrl-Z gives it back for
the time of the stop.
"""

import codecs
import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from metrics.headline import BUSY, CLOSED, GOOD, QUIET
from metrics.ink import BAR, BOLD, PLAIN, Line

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Alternate screen, no cursor, no wrapping of long lines."""
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN, _NORMAL = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[0m"
# What a terminal shows between the two of them it shows at once (where it does not know them, nothing is lost).
_BEGIN, _DONE = "\x1b[?2026h", "\x1b[?2026l"

_COLOURS = {PLAIN: "", BOLD: "1", BAR: "7", GOOD: "32", BUSY: "33", CLOSED: "31", QUIET: "2"}
_NO_COLOURS = {PLAIN: "", BOLD: "1", BAR: "7", GOOD: "", BUSY: "", CLOSED: "1", QUIET: ""}
"""For NO_COLOR: weight and reversal only (https://no-color.org)."""

_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)
_NAMES = {
    "\x1b": "escape",
    "\r": "return",
    "\n": "return",
    "\t": "tab",
    "\x08": "backspace",
    "\x7f": "backspace",
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x04": "q",
}


class Terminal:
    """Standard input and output, which must be a terminal. Use it in a `with` block, in the main thread."""

    def __init__(self, colours: bool) -> None:
        self._styles = _COLOURS if colours else _NO_COLOURS
        self._input, self._output = sys.stdin.fileno(), sys.stdout.fileno()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._before: list[Any] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Terminal":
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._before = termios.tcgetattr(self._input)
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            signal.SIGWINCH: lambda _number, _frame: None,
            signal.SIGTERM: _end,
            signal.SIGHUP: _end,
            signal.SIGTSTP: lambda _number, _frame: self._stop(),
        }
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._occupy()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._woken)
        os.close(self._wake)

    def _occupy(self) -> None:
        tty.setcbreak(self._input)
        self._write(ENTER)

    def _give_back(self) -> None:
        try:
            self._write(LEAVE)
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)
        except (OSError, termios.error):  # the terminal has gone
            pass

    def _stop(self) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._occupy()

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._output, data) :]

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        size = os.get_terminal_size(self._output)
        return size.columns or 80, size.lines or 24

    def show(self, lines: Sequence[Line]) -> None:
        """Draws the whole screen."""
        drawn = [self._drawn(line) + _END_OF_LINE for line in lines]
        self._write(_BEGIN + _HOME + "\r\n".join(drawn) + _END_OF_SCREEN + _DONE)

    def _drawn(self, line: Line) -> str:
        return "".join(self._inked(text, self._styles[ink]) for text, ink in line)

    @staticmethod
    def _inked(text: str, style: str) -> str:
        return f"\x1b[{style}m{text}{_NORMAL}" if style else text

    def keys(self, seconds: float) -> list[str]:
        """The keys that were pressed, waiting so long for the first; none, at once, if the window has a new size."""
        ready, _, _ = select.select([self._input, self._woken], [], [], max(0.0, seconds))
        if self._woken in ready:
            os.read(self._woken, 1 << 10)
            return []
        if not ready:
            return []
        data = os.read(self._input, 1 << 10)
        if not data:  # nobody is there any more
            return ["q"]
        return [_NAMES.get(key, key) for key in _KEY.findall(self._decoder.decode(data))]


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
