"""`pcontrol`: says commands to a running program over its control socket.

Commands come from the command line, from files, from standard input, or from a prompt (`prompt.py`). Data goes to
standard output, messages to standard error. The subcommands, with a file that is a whole configuration, are in
`apply.py`. Exit codes stand in `EXIT_CODES`; after the first command that is refused nothing more is said, unless
`--ignore-errors` is given. `--wait` stays until the program is gone, or,
after a drain or a kick, the sessions that it is about.
"""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence

from supervisor.control.files.rcdisk import STANDARD_INPUT, read_any, read_regular
from supervisor.control.files.rcfile import APPLY, ROLLBACK, FileFault, UnreadableFile, load, told
from supervisor.control.words import phrase
from supervisor.pcontrol import secret
from supervisor.pcontrol.connection import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_NO_CONNECTION,
    EXIT_REFUSED,
    EXIT_TIMED_OUT,
    EXIT_UNWRITTEN,
    EXIT_USAGE,
    CommandSender,
    Connection,
    NoConnection,
    TimedOut,
    connect,
    json_error,
    run,
    sign,
)
from supervisor.pcontrol.options import SUBCOMMANDS, files_parser, options_parser, parse_subcommand
from supervisor.runtime.plural import count_of
from supervisor.runtime.standard import hold_standard_descriptors

_LOOK_SECONDS = 0.25
"""How often --wait looks how many sessions are left."""


IsReadOnly = Callable[[str, str], bool]
"""Whether to a program, by its name, a line is a question: it can neither change nor end anything."""


def main(
    argv: Sequence[str] | None = None,
    programs: Sequence[str] = (),
    is_read_only: IsReadOnly = lambda _name, _line: True,
) -> int:
    """The command. `programs` are the names of those that there are to speak to, in the order of trying; beyond the
    first of them nothing is changed that was not told to go there.
    """
    hold_standard_descriptors()
    options = _parse(argv, programs)
    options.is_read_only = is_read_only
    try:
        return _serve(options)
    except (NoConnection, TimedOut, KeyboardInterrupt) as error:
        return _failed(error, options)
    except BrokenPipeError:
        _drop_output()  # whoever read our data has enough
        return EXIT_DONE
    except UnreadableFile as error:
        _complain(str(error), options)
        return EXIT_USAGE
    except OSError as error:
        # Those of files and connections have been told otherwise.
        _drop_output()
        _complain(f"standard input or output: {error.strerror or error}", options)
        return EXIT_UNWRITTEN


def _failed(error: BaseException, options: Namespace) -> int:
    """Tells why there is no answer; returns the exit code."""
    _complain(str(error) or "interrupted", options)
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return EXIT_TIMED_OUT if isinstance(error, TimedOut) else EXIT_NO_CONNECTION


def _drop_output() -> None:
    """The interpreter must not find out again, when it flushes at the end, that nothing can be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(argv: Sequence[str] | None, programs: Sequence[str]) -> Namespace:
    """The options, with `subcommand` (None if there is none), `commands` and `files`. Exits with 2."""
    parser = options_parser(programs)
    options = parser.parse_args(argv)
    options.host = None  # the one of --hosts that is asked
    first, *rest = options.words or [""]
    options.subcommand = first if first in SUBCOMMANDS else None
    if options.subcommand is not None:
        return parse_subcommand(first, rest, options)
    if options.words and not is_command(first):
        options = files_parser(programs).parse_intermixed_args(options.words, options)
    else:
        options.files = []
    options.commands = [*options.command, *([phrase(options.words)] if is_command(first) else [])]
    if options.quiet and options.verbose:
        parser.error("--quiet and --verbose exclude each other")
    if options.hosts is not None and (options.socket is not None or options.wait or not _says_something(options)):
        parser.error("--hosts takes a command, a FILE or a subcommand, and neither --socket nor --wait")
    return options


def _says_something(options: Namespace) -> bool:
    return bool(options.commands or options.files) and STANDARD_INPUT not in options.files


def is_command(word: str) -> bool:
    """Whether a first word begins a command: all of them begin with letters only."""
    return word.isascii() and word.isalpha()


def _serve(options: Namespace) -> int:
    if options.hosts is None:
        programs = options.programs if options.program is None else [options.program]
        return _serve_one(
            options, lambda: connect(options.socket, options.rundir, programs, timeout_seconds=options.timeout)
        )
    from supervisor.pcontrol.hosts import ControlTarget, FaultyHosts, at_each, hosts_in

    try:
        hosts = hosts_in(options.hosts)
    except FaultyHosts as faulty:
        _tell_faults(faulty.faults, options)
        return EXIT_USAGE

    def at(host: ControlTarget) -> int:
        options.host = host.name
        try:
            return _serve_one(options, lambda: host.connect(options.timeout))
        except (NoConnection, TimedOut, KeyboardInterrupt) as error:
            return _failed(error, options)

    return at_each(hosts, at, quiet=options.quiet, json=options.json)


def _serve_one(options: Namespace, reach: Callable[[], Connection]) -> int:
    def connected() -> Connection:
        connection = reach()
        try:
            sign(connection, options.signed_as, options.message)
        except (NoConnection, TimedOut, KeyboardInterrupt):
            connection.close()
            raise
        return connection

    if options.subcommand == "relay":
        connection = connected()
        if connection.instead:  # what will be said is not known here
            raise _another(connection, options)
        connection.relay(sys.stdin.fileno(), sys.stdout.fileno())
        return EXIT_DONE
    if options.subcommand is not None:
        from supervisor.pcontrol import apply

        asked = () if options.dry_run else _CHANGE_AS.get(options.subcommand, ())
        return apply.run(lambda: _meant(connected(), options, asked), options)
    if not options.commands and not options.files:
        if sys.stdin.isatty() and sys.stdout.isatty():
            from supervisor.pcontrol.prompt import Prompt

            return Prompt(connected, options).converse()
        options.files = [STANDARD_INPUT]
    commands = [command for name in options.files for command in load(name, read_any, read_regular).commands]
    faults = [command.fault for command in commands if command.fault is not None]
    if faults and not options.ignore_errors:
        # All of them, before anything is said.
        _tell_faults(faults, options)
        return EXIT_REFUSED
    connection = _meant(connected(), options, [*options.commands, *(command.text for command in commands)])
    try:
        given = secret.wanted(options)
        if given is not None and (refused := secret.say(connection, given)):
            raise NoConnection(f"{connection.path}: {refused}")
        code = run(CommandSender(connection, options), options.commands, commands, ignore_errors=options.ignore_errors)
        if code == EXIT_REFUSED and len(options.words) and is_command(options.words[0]):
            _hint(connection, options.words[0], options)
        if options.wait and code == EXIT_DONE:
            said = [*options.commands, *(command.text for command in commands)]
            wait = wait_for_sweeps if any(map(_sweeps, said)) else wait_for_end
            code = wait(connection, options.timeout, options.quiet)
        return code
    finally:
        connection.close()


_CHANGE_AS = {"apply": (APPLY,), "confirm": ("confirm",), "rollback": (ROLLBACK,)}
"""What subcommands that change something say."""


def _meant(connection: Connection, options: Namespace, lines: Sequence[str]) -> Connection:
    """The connection, if these lines may go there. Raises NoConnection: `shutdown all` said twice ends one program."""
    name = connection.instead
    if not name or all(options.is_read_only(name, line) for line in lines):
        return connection
    raise _another(connection, options)


def _another(connection: Connection, options: Namespace) -> NoConnection:
    connection.close()
    return NoConnection(
        f"{options.programs[0]} does not run in {options.rundir}; {connection.instead} does, but what changes or ends "
        f"something goes there only by --program {connection.instead}"
    )


def _tell_faults(faults: Sequence[FileFault], options: Namespace) -> None:
    """Tells each, with its place."""
    lines = [json_error("", fault, host=options.host) for fault in faults] if options.json else told(faults)
    if not options.quiet:
        for line in lines:
            print(line, file=sys.stderr)


def _hint(connection: Connection, word: str, options: Namespace) -> None:
    """A first word that the program does not know may have been meant for a subcommand, or for a file. One that it
    knows was meant: what is like it does something else.
    """
    from difflib import get_close_matches

    if options.quiet or options.json:
        return
    try:
        found = connection.say(f"complete {word}")
    except (NoConnection, TimedOut):
        return
    if not found.ok or word.lower() in found.lines:
        return
    hints = [f"pcontrol {near}" for near in get_close_matches(word, SUBCOMMANDS, n=1) if near != word]
    hints += [f"pcontrol ./{word}"] if os.path.exists(word) else []
    if hints:
        print(f"pcontrol: did you mean: {' or '.join(hints)}?", file=sys.stderr)


def wait_for_end(connection: Connection, timeout_seconds: float, quiet: bool) -> int:
    """Prints how many sessions are left whenever that changes, until the program is gone; returns the exit code.

    The program keeps its connections as long as it lives, so the loss of ours tells its end, whoever follows it.
    """
    import json

    deadline = time.monotonic() + timeout_seconds
    shown = None
    try:
        while time.monotonic() < deadline:
            answer = connection.say("json sessions")
            left = len(json.loads(answer.lines[0]))
            if left != shown and not quiet:
                print(f"{count_of(left, 'session')} left", flush=True)
            shown = left
            time.sleep(_LOOK_SECONDS)
    except NoConnection:
        return EXIT_DONE
    raise TimedOut(f"{connection.path}: the program is still there after {timeout_seconds:g} s")


def _sweeps(command: str) -> bool:
    """Whether a command has sessions be gone, and not the program."""
    words = command.split()
    return words[:1] == ["kick"] or words[1:2] == ["drain"] or words[:2] == ["user", "lock"]


def wait_for_sweeps(connection: Connection, timeout_seconds: float, quiet: bool) -> int:
    """Prints who is left, whenever that changes, until nobody is whom a drain or a kick is about that there is now."""
    import json

    deadline = time.monotonic() + timeout_seconds
    first: set[int] | None = None
    shown = None
    while time.monotonic() < deadline:
        rows = json.loads(connection.say("json kick list").lines[0])
        first = {row["number"] for row in rows} if first is None else first
        rows = [row for row in rows if row["number"] in first]
        told = "; ".join(f"{row['sort']} {row['id']}: {row['found']}" for row in rows) or "nobody is left"
        if told != shown and not quiet:
            print(told, flush=True)
        shown = told
        if not rows:
            return EXIT_DONE
        time.sleep(_LOOK_SECONDS)
    raise TimedOut(f"{connection.path}: after {timeout_seconds:g} s there is still {shown}")


def _complain(text: str, options: Namespace) -> None:
    if not options.quiet:
        print(json_error(text, host=options.host) if options.json else f"pcontrol: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
