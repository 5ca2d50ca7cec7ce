"""`pcontrol`: says sentences to a running program over its control socket.

Sentences come from `-c`, from files, from standard input, or from a prompt (`prompt.py`). Data goes to standard
output, messages to standard error. Where the first word is one of SUBCOMMANDS, a file is a whole configuration
(`applying.py`). Exit codes stand in `EXIT_CODES`; after the first sentence that is refused nothing
more is said, unless `--ignore-errors` is given. `--wait` stays until the program is gone.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import TextIO

from supervisor.control.connection import (
    DEFAULT_RUNDIR,
    EXIT_CODES,
    EXIT_DONE,
    EXIT_NO_CONNECTION,
    EXIT_REFUSED,
    EXIT_TIMED_OUT,
    EXIT_USAGE,
    PROGRAMS,
    Connection,
    NoConnection,
    Said,
    TimedOut,
    Unreadable,
    connect,
    fits,
    sentences_of,
)
from supervisor.control.facts import Facts, Unfit
from supervisor.control.framing import LONGEST_REQUEST
from supervisor.control.kinds import Time, nearest
from supervisor.control.outcome import NOTE

SUBCOMMANDS = {
    "check": "tries the configuration in FILE in full, shows what would change, and changes nothing",
    "apply": "makes the running configuration what FILE says, as one generation in all workers, or changes nothing",
    "confirm": "keeps what was applied with --confirm",
    "rollback": "goes back to the configuration before the last apply",
}
"""What the first word of the command line may be; a file of that name is meant by ./NAME."""
_WITH_FILE = ("check", "apply")
_DEFAULT_WATCH_SECONDS = 2.0

_DEFAULT_TIMEOUT_SECONDS = 90.0
_LOOK_SECONDS = 0.25
"""How often --wait looks how many sessions are left."""


def _all_sentences(options: argparse.Namespace) -> Iterator[Said]:
    yield from (Said("", command) for command in options.command)
    for name in options.files:
        yield from sentences_of(name)


class Speaker:
    """Says sentences and prints what comes back, as the options want it."""

    def __init__(self, connection: Connection, options: argparse.Namespace) -> None:
        self._connection = connection
        self._json = options.json
        self._quiet = options.quiet
        self._verbose = options.verbose

    def say(self, said: Said) -> bool:
        """Whether the sentence was carried out. Raises NoConnection or TimedOut."""
        place = f"{said.place}: " if said.place else ""
        if not fits(said.sentence):
            self._print(f"{place}a sentence is one line of at most {LONGEST_REQUEST} octets")
            return False
        if self._verbose:
            self._print(f"> {said.sentence}")
        answer = self._connection.say(f"json {said.sentence}" if self._json else said.sentence)
        for line in answer.lines:
            print(line)
        sys.stdout.flush()
        # That it was done the exit code tells; a note must be seen all the same.
        text = answer.text if self._verbose or not answer.ok else _notes(answer.text)
        if text:
            self._print(f"{place}{text}")
        return answer.ok

    def _print(self, message: str) -> None:
        if not self._quiet:
            print(message, file=sys.stderr, flush=True)


def _notes(text: str) -> str:
    _done, mark, notes = text.partition(NOTE)
    return f"note: {notes}" if mark else ""


def run(speaker: Speaker, sentences: Iterable[Said], ignore_errors: bool) -> int:
    """Says sentences until one is refused, or all of them; returns the exit code."""
    code = EXIT_DONE
    for said in sentences:
        if not speaker.say(said):
            code = EXIT_REFUSED
            if not ignore_errors:
                break
    return code


def wait_for_end(connection: Connection, timeout_seconds: float, quiet: bool) -> int:
    """Prints how many sessions are left whenever that changes, until the program is gone; returns the exit code.

    The program keeps its connections as long as it lives, so the loss of ours tells its end, whoever follows it.
    """
    deadline = time.monotonic() + timeout_seconds
    shown = None
    try:
        while time.monotonic() < deadline:
            answer = connection.say("json sessions")
            left = len(json.loads(answer.lines[0]))
            if left != shown and not quiet:
                print(f"{left} sessions left", flush=True)
            shown = left
            time.sleep(_LOOK_SECONDS)
    except NoConnection:
        return EXIT_DONE
    raise TimedOut(f"{connection.path}: the program is still there after {timeout_seconds:g} s")


def options_parser() -> argparse.ArgumentParser:
    """The options; the manual page is made from this parser."""
    codes = "; ".join(f"{code}: {text}" for code, text in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="pcontrol",
        description="Says sentences to a running pproxy or pserv.",
        epilog=f"Without -c and FILE there is a prompt. Exit code {codes}.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "-c", "--command", metavar="CMD", action="append", default=[], help="a sentence to say; may be given many times"
    )
    add("-s", "--socket", metavar="FILE", help="the control socket")
    add("-r", "--rundir", metavar="DIR", default=DEFAULT_RUNDIR, help="run directory (default: %(default)s)")
    add("-p", "--program", choices=PROGRAMS, help="program to speak to (default: pproxy if it answers, else pserv)")
    add("-q", "--quiet", action="store_true", help="no messages, only data and the exit code")
    add("-v", "--verbose", action="store_true", help="print each sentence and its status text too")
    add("-i", "--ignore-errors", action="store_true", help="go on after a sentence that is refused")
    add("--json", action="store_true", help="data as JSON, one line a sentence")
    add("-w", "--wait", action="store_true",
        help="then wait until the program is gone, and print how many sessions are left")  # fmt: skip
    add("--timeout", metavar="SECONDS", type=_seconds, default=_DEFAULT_TIMEOUT_SECONDS,
        help="longest wait for an answer, and of --wait (default: %(default)g)")  # fmt: skip
    add("--version", action="version", version=f"%(prog)s {version('popular-pop3')}")
    whole = parser.add_argument_group("whole configurations: pcontrol check|apply FILE, pcontrol confirm|rollback")
    add = whole.add_argument
    add("--dry-run", action="store_true", help="apply: only show what would change; nothing is tried")
    add("--confirm", metavar="TIME", type=_time,
        help="apply: the configuration before comes back unless pcontrol confirm is said within this time")  # fmt: skip
    add("--watch", metavar="SECONDS", nargs="?", const=str(_DEFAULT_WATCH_SECONDS),
        help="apply: stay, and look so often whether FILE has changed or the program was started anew; then apply it "
        f"again (default: {_DEFAULT_WATCH_SECONDS:g})")  # fmt: skip
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="file of sentences, - for standard input; # begins a comment line"
    )
    return parser


def _time(text: str) -> int:
    try:
        return Time(1, 86400).parse(text, Facts())
    except Unfit as unfit:
        raise argparse.ArgumentTypeError(str(unfit)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.001 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0.001 to 86400")
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = options_parser()
    options = parser.parse_intermixed_args(argv)
    _take_subcommand(options)
    wrong = _what_does_not_go_together(options)
    if wrong:
        parser.error(wrong)
    try:
        return _serve(options)
    except (NoConnection, TimedOut) as error:
        _complain(error, options.quiet, sys.stderr)
        return EXIT_TIMED_OUT if isinstance(error, TimedOut) else EXIT_NO_CONNECTION
    except BrokenPipeError:
        # Whoever read our data has enough; the interpreter must not find that out again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (OSError, Unreadable) as error:
        _complain(error, options.quiet, sys.stderr)
        return EXIT_USAGE


def _take_subcommand(options: argparse.Namespace) -> None:
    """Sets `subcommand` and `file`, None where there is none, and the time of `watch`."""
    if options.watch is not None:
        try:
            options.watch = _seconds(options.watch)
        except argparse.ArgumentTypeError:  # --watch FILE
            options.files.append(options.watch)
            options.watch = _DEFAULT_WATCH_SECONDS
    named = bool(options.files) and options.files[0] in SUBCOMMANDS
    options.subcommand = options.files[0] if named else None
    options.file = options.files[1] if named and len(options.files) > 1 else None


def _what_does_not_go_together(options: argparse.Namespace) -> str | None:
    name, watch = options.subcommand, options.watch is not None
    is_file_wanted = name in _WITH_FILE
    pairs = {
        "--quiet and --verbose exclude each other": options.quiet and options.verbose,
        "--dry-run, --confirm and --watch belong to: pcontrol apply FILE": name != "apply"
        and (options.dry_run or options.confirm is not None or watch),
        "of --dry-run, --confirm and --watch only one can be": options.dry_run + (options.confirm is not None) + watch
        > 1,
        f"pcontrol {name} takes {'one FILE' if is_file_wanted else 'no FILE'}; for a file of that name say ./{name}": (
            name is not None and len(options.files) != 1 + is_file_wanted
        ),
        f"--command, --ignore-errors and --wait do not go with pcontrol {name}": name is not None
        and bool(options.command or options.ignore_errors or options.wait),
        "standard input cannot be watched": watch and options.file == "-",
    }
    return next((text for text, wrong in pairs.items() if wrong), None)


def _serve(options: argparse.Namespace) -> int:
    def connected() -> Connection:
        return connect(options.socket, options.rundir, options.program, options.timeout)

    if options.subcommand is not None:
        from supervisor.control import applying

        return applying.run(connected, options)
    asked = bool(options.command or options.files)
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not asked and not at_terminal:
        options.files = ["-"]
    connection = connected()
    try:
        speaker = Speaker(connection, options)
        if not asked and at_terminal:
            from supervisor.control.prompt import converse

            return converse(connection, speaker)
        code = run(speaker, _all_sentences(options), options.ignore_errors)
        if options.wait and code == EXIT_DONE:
            code = wait_for_end(connection, options.timeout, options.quiet)
        return code
    finally:
        connection.close()


def _complain(error: Exception, quiet: bool, stream: TextIO) -> None:
    text = str(error)
    if isinstance(error, OSError) and error.filename:
        near = nearest(error.filename, SUBCOMMANDS) if isinstance(error, FileNotFoundError) else ""
        text = f"{error.filename}: {error.strerror}{near}"
    if not quiet:
        print(f"pcontrol: {text}", file=stream)


if __name__ == "__main__":
    sys.exit(main())
