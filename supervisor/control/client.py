"""`pcontrol`: says sentences to a running program over its control socket.

Sentences come from `-c`, from files, from standard input, or from a prompt (`prompt.py`). Data goes to standard
output, messages to standard error. Exit codes stand in `EXIT_CODES`; after the first sentence that is refused nothing
more is said, unless `--ignore-errors` is given. `--wait` stays until the program is gone.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TextIO

from supervisor.control.framing import LONGEST_REQUEST, Answer, NotAReply, ReplyReader, encode_request

DEFAULT_RUNDIR = "/var/run/popular"
PROGRAMS = ("pproxy", "pserv")

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_NO_CONNECTION = 3
EXIT_TIMED_OUT = 4
EXIT_CODES = {
    EXIT_DONE: "all sentences were carried out",
    EXIT_REFUSED: "a sentence was refused",
    EXIT_USAGE: "wrong options, or a file that cannot be read",
    EXIT_NO_CONNECTION: "no connection to the program, or it was lost",
    EXIT_TIMED_OUT: "no answer in time, or, with --wait, not gone in time",
}

_DEFAULT_TIMEOUT_SECONDS = 90.0
_PIECE = 65536
_LOOK_SECONDS = 0.25
"""How often --wait looks how many sessions are left."""


class NoConnection(Exception):
    """The program cannot be reached, or is gone."""


class TimedOut(Exception):
    """No answer in time."""


class Connection:
    """A connection to a control socket. Sentences are said one after the other."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        """Raises NoConnection."""
        self.path = path
        self._timeout_seconds = timeout_seconds
        self._reader = ReplyReader()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_seconds)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise NoConnection(f"{path}: {error.strerror or error}") from None

    def close(self) -> None:
        self._socket.close()

    def say(self, sentence: str) -> Answer:
        """The reply to a sentence. Raises NoConnection or TimedOut; after either the connection is of no more use."""
        deadline = time.monotonic() + self._timeout_seconds
        self._socket.settimeout(self._timeout_seconds)
        try:
            self._socket.sendall(encode_request(sentence))
            while True:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                data = self._socket.recv(_PIECE)
                if not data:
                    raise NoConnection(f"{self.path}: the connection was closed before the answer")
                answers = self._reader.feed(data)
                if answers:
                    return answers[0]
        except TimeoutError:
            # The answer may still come, and would be taken for that to the next sentence.
            self._socket.close()
            raise TimedOut(f"{self.path}: no answer within {self._timeout_seconds:g} s") from None
        except NotAReply as error:
            raise NoConnection(f"{self.path}: not a control socket: {error}") from None
        except OSError as error:
            raise NoConnection(f"{self.path}: {error.strerror or error}") from None


def connect(socket_path: str | None, rundir: str, program: str | None, timeout_seconds: float) -> Connection:
    """Connects to the named socket, or to that of the named program, or to the first program that answers."""
    if socket_path is not None:
        return Connection(Path(socket_path), timeout_seconds)
    failures = []
    for name in (program,) if program is not None else PROGRAMS:
        try:
            return Connection(Path(rundir) / f"{name}.ctrl", timeout_seconds)
        except NoConnection as failure:
            failures.append(str(failure))
    raise NoConnection("; ".join(failures))


class Said(NamedTuple):
    """A sentence, and where it stands."""

    place: str
    sentence: str


def sentences_in(lines: Iterable[str], name: str) -> Iterator[Said]:
    """The sentences of an rc file: all lines but empty ones and those that begin with #."""
    for number, line in enumerate(lines, start=1):
        sentence = line.rstrip("\r\n")
        if sentence.strip() and not sentence.lstrip().startswith("#"):
            yield Said(f"{name}:{number}", sentence)


def _all_sentences(options: argparse.Namespace) -> Iterator[Said]:
    yield from (Said("", command) for command in options.command)
    for name in options.files:
        if name == "-":
            yield from sentences_in(sys.stdin, "standard input")
        else:
            with open(name, encoding="utf-8") as file:
                yield from sentences_in(file, name)


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
        if any(end in said.sentence for end in "\r\n") or len(said.sentence.encode(errors="replace")) > LONGEST_REQUEST:
            self._print(f"{place}a sentence is one line of at most {LONGEST_REQUEST} octets")
            return False
        if self._verbose:
            self._print(f"> {said.sentence}")
        answer = self._connection.say(f"json {said.sentence}" if self._json else said.sentence)
        for line in answer.lines:
            print(line)
        sys.stdout.flush()
        if not answer.ok or (self._verbose and answer.text):
            self._print(f"{place}{answer.text}")
        return answer.ok

    def _print(self, message: str) -> None:
        if not self._quiet:
            print(message, file=sys.stderr, flush=True)


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
    add("files", metavar="FILE", nargs="*", help="file of sentences, - for standard input; # begins a comment line")
    return parser


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
    options = parser.parse_args(argv)
    if options.quiet and options.verbose:
        parser.error("--quiet and --verbose exclude each other")
    asked = bool(options.command or options.files)
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not asked and not at_terminal:
        options.files = ["-"]
    try:
        connection = connect(options.socket, options.rundir, options.program, options.timeout)
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
    except (NoConnection, TimedOut) as error:
        _complain(error, options.quiet, sys.stderr)
        return EXIT_TIMED_OUT if isinstance(error, TimedOut) else EXIT_NO_CONNECTION
    except BrokenPipeError:
        # Whoever read our data has enough; the interpreter must not find that out again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (OSError, UnicodeDecodeError) as error:
        _complain(error, options.quiet, sys.stderr)
        return EXIT_USAGE


def _complain(error: Exception, quiet: bool, stream: TextIO) -> None:
    if not quiet:
        print(f"pcontrol: {error}", file=stream)


if __name__ == "__main__":
    sys.exit(main())
