"""The command line of `pcontrol`: its options, and its subcommands with theirs. The manual page is made from them.

What the first word is decides what the rest is: one of SUBCOMMANDS, then its own options and files; letters only, then
all of it is one command, a word each; anything else, then it is a FILE, and so are those after it.
"""

import argparse
from collections.abc import Sequence

from supervisor.commandline import CommandLine
from supervisor.pcontrol.connection import DEFAULT_RUNDIR, EXIT_CODES
from supervisor.version import VERSION

SUBCOMMANDS = {
    "check": "tries the configuration in FILE in full, shows what would change, and changes nothing",
    "apply": "makes the running configuration what FILE says, as one generation in all workers, or changes nothing",
    "drift": "tells by its exit code whether the running configuration is still what FILE says, and shows what differs",
    "status": "tells version, configuration, sessions and workers in one line",
    "confirm": "keeps what was applied with --confirm",
    "rollback": "goes back to the configuration before the last apply",
    "relay": "joins standard input and output to the control socket: for --hosts over ssh",
}
WITH_FILE = ("check", "apply", "drift")

_OF_COMMANDS = ("command", "ignore_errors", "secret", "secretfile", "verbose", "wait")
_DEFAULT_TIMEOUT_SECONDS = 90.0
_DEFAULT_WATCH_SECONDS = 2.0
_LONGEST_CONFIRM_SECONDS = 86400


def options_parser(programs: Sequence[str]) -> argparse.ArgumentParser:
    """What stands in front of the first word. `programs` are the names of those that there are to speak to."""
    parser = CommandLine(
        prog="pcontrol",
        usage="pcontrol [options] [-c CMD]… [COMMAND | FILE… | SUBCOMMAND]",
        description=f"Says commands to a running {_or(programs) or 'program'}.",
        epilog="Subcommands, each with its own --help: "
        + "; ".join(f"{name}: {what}" for name, what in SUBCOMMANDS.items())
        + f". Without -c and anything else there is a prompt. {_exit_codes()}",
    )
    parser.set_defaults(programs=programs)
    _add_options(parser, programs)
    parser.add_argument(
        "words",
        metavar="WORD",
        type=str,  # a value may be ""
        nargs=argparse.REMAINDER,
        help="a command, each argument one word of it (show config); or the name of a file of commands, - for "
        "standard input, ./NAME where it is letters only; or a subcommand",
    )
    return parser


def files_parser(programs: Sequence[str]) -> argparse.ArgumentParser:
    """What stands after a first word that is a FILE: more of them, and options that were forgotten before."""
    parser = CommandLine(prog="pcontrol", argument_default=argparse.SUPPRESS)
    _add_options(parser, programs)
    parser.add_argument("files", nargs="*")
    return parser


def subcommand_parser(name: str, programs: Sequence[str]) -> argparse.ArgumentParser:
    """What stands after the name of a subcommand; the options of the connection may stand there too."""
    parser = CommandLine(
        prog=f"pcontrol {name}",
        usage=f"pcontrol {name} [options]{' FILE' if name in WITH_FILE else ''}",
        description=f"{SUBCOMMANDS[name].capitalize()}.".replace("file", "FILE"),
        epilog=_exit_codes(),
        argument_default=argparse.SUPPRESS,
    )
    whole = "the whole configuration; - for standard input" if name in WITH_FILE else argparse.SUPPRESS
    parser.add_argument("files", metavar="FILE", nargs="*", help=whole)
    if name == "apply":
        _add_apply_options(parser)
    _add_connection_options(parser, programs)
    return parser


def _exit_codes() -> str:
    return f"Exit code {'; '.join(f'{code}: {text}' for code, text in EXIT_CODES.items())}."


def _add_options(parser: argparse.ArgumentParser, programs: Sequence[str]) -> None:
    add = parser.add_argument
    add(
        "-c", "--command", metavar="CMD", action="append", default=_default(parser, []),
        help="a command to say; may be given many times",
    )  # fmt: skip
    _add_connection_options(parser, programs)
    add("--secret", action="store_true", help="ask for a secret first, for the command that follows, such as explain")
    add("--secretfile", metavar="FILE", help="the same, read from a file")
    add("-v", "--verbose", action="store_true", help="print each command and its status text too")
    add("-i", "--ignore-errors", action="store_true", help="go on after a command that is refused")
    add("-w", "--wait", action="store_true",
        help="then wait for the end of the program, or of the sessions that leave; print who is left")  # fmt: skip
    add("--version", action="version", version=f"%(prog)s {VERSION}", help="show the version and exit")


def _add_connection_options(parser: argparse.ArgumentParser, programs: Sequence[str]) -> None:
    add = parser.add_argument
    add("-s", "--socket", metavar="FILE", help="the control socket")
    add("-r", "--rundir", metavar="DIR", default=_default(parser, DEFAULT_RUNDIR),
        help=f"run directory (default: {DEFAULT_RUNDIR})")  # fmt: skip
    add("--hosts", metavar="FILE", default=_default(parser, None),
        help="do it at all proxies that FILE names, one after the other, until one fails; a line each: "
        "NAME socket PATH, or NAME command WORD... (px1 command ssh px1 pcontrol -p PROGRAM relay)")  # fmt: skip
    add("-p", "--program", metavar="PROGRAM", choices=programs or None,
        help=f"program to speak to: {_or(programs)} (default: the first of them that answers; "
        "what changes or ends something goes to the first of them only)")  # fmt: skip
    add("--as", metavar="NAME", dest="signed_as", default=_default(parser, None),
        help="who says this, for history and audit log: where several people are one user to the kernel")  # fmt: skip
    add("-m", "--message", metavar="TEXT", type=str, default=_default(parser, None), help="why, for the same")
    add("-q", "--quiet", action="store_true", help="no messages, only data and the exit code")
    add(
        "--json",
        action="store_true",
        help="data, and errors, as JSON, one line a command; with --hosts as an object with host and data",
    )
    add("--timeout", metavar="SECONDS", type=seconds, default=_default(parser, _DEFAULT_TIMEOUT_SECONDS),
        help=f"longest wait for an answer, and of --wait (default: {_DEFAULT_TIMEOUT_SECONDS:g})")  # fmt: skip


def _add_apply_options(parser: argparse.ArgumentParser) -> None:
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--dry-run", action="store_true", help="only show what would change; nothing is tried")
    one.add_argument("--confirm", metavar="TIME", type=_time,
        help="the configuration before comes back unless pcontrol confirm is said within this time")  # fmt: skip
    one.add_argument("--watch", metavar="SECONDS", nargs="?", type=seconds, const=_DEFAULT_WATCH_SECONDS,
        help="stay, and look so often whether FILE, or a file that it includes, has changed or the program was started "
        f"anew; then apply it again (default: {_DEFAULT_WATCH_SECONDS:g})")  # fmt: skip


def _or(names: Sequence[str]) -> str:
    return " or ".join(names)


def _default(parser: argparse.ArgumentParser, value: object) -> object:
    """A default; none where the options in front of the first word have it already."""
    return value if parser.argument_default is None else argparse.SUPPRESS


def _time(text: str) -> int:
    from supervisor.control.language.kinds import Time
    from supervisor.control.language.lookups import Lookups, Unfit

    try:
        return Time(1, _LONGEST_CONFIRM_SECONDS).parse(text, Lookups())
    except Unfit as unfit:
        raise argparse.ArgumentTypeError(str(unfit)) from None


def seconds(text: str) -> float:
    """An option's type: a time in seconds, with or without a fraction."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 86400:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0.001 to 86400")
    return number


def parse_subcommand(name: str, words: Sequence[str], options: argparse.Namespace) -> argparse.Namespace:
    """The options after a subcommand, added to those in front of it. Exits with 2."""
    parser = subcommand_parser(name, options.programs)
    if any(vars(options)[option] for option in _OF_COMMANDS):
        words = ", ".join(f"--{option.replace('_', '-')}" for option in _OF_COMMANDS)
        parser.error(f"{words} do not go with pcontrol {name}")
    for option, value in {"dry_run": False, "confirm": None, "watch": None}.items():
        setattr(options, option, value)
    options = parser.parse_intermixed_args(_with_watch_alone(words), options)
    files = getattr(options, "files", [])
    wanted = 1 if name in WITH_FILE else 0
    if len(files) != wanted:
        parser.error(
            f"pcontrol {name} takes {'one FILE' if wanted else 'no FILE'}; for a file of that name say ./{name}"
        )
    options.file = files[0] if wanted else None
    if options.hosts is not None and (options.socket is not None or options.watch is not None or name == "relay"):
        parser.error("--hosts goes neither with --socket nor with --watch, nor with relay")
    if options.hosts is not None and options.file == "-":
        parser.error("standard input cannot be read for each of --hosts")
    if options.watch is not None and options.file == "-":
        parser.error("standard input cannot be watched")
    return options


def _with_watch_alone(words: Sequence[str]) -> list[str]:
    """The words, with `--watch FILE` as `--watch=2 FILE`: what follows may be the seconds or the file."""
    alone = f"--watch={_DEFAULT_WATCH_SECONDS:g}"
    return [
        alone if word == "--watch" and not _is_number("".join(words[place + 1 : place + 2])) else word
        for place, word in enumerate(words)
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
