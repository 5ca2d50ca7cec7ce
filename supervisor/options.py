"""The command line of a program that the supervisor runs (`pproxy`, `pserv`)."""

import argparse
from collections.abc import Callable

from supervisor.commandline import CommandLine
from supervisor.control.commands.commands import ALL
from supervisor.control.commands.variables import processors
from supervisor.program import Program
from supervisor.runtime.httpaddress import HttpAddress, parse_address
from supervisor.runtime.load import LOADAVG
from supervisor.runtime.statedir import DEFAULT_STATEDIR
from supervisor.table.tokens import MOST_TOKENS

DEFAULT_RUNDIR = "/var/run/popular"


def options(program: Program) -> argparse.ArgumentParser:
    """The options of a program; the manual pages are made from this parser too."""
    parser = CommandLine(prog=program.name, description=program.summary)
    add = parser.add_argument
    add("-r", "--rundir", metavar="DIR", default=DEFAULT_RUNDIR, help="run directory (default: %(default)s)")
    add(
        "--statedir",
        metavar="DIR",
        help="state directory: what is ordered beside the configuration (`state list`) outlives the program there "
        f"(default: {DEFAULT_STATEDIR}; with a --rundir of your own, state in that)",
    )
    add(
        "-l",
        "--logfile",
        metavar="FILE",
        help=f"log file, - for standard error (default: /var/log/popular/{program.name})",
    )
    add(
        "-c",
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        help="start configuration, a file of commands; a fault in it ends the program. Given more than once, the "
        "files count as one, in their order",
    )
    add(
        "--check",
        action="store_true",
        help="try the start configuration in full (names, files, certificates, modules), bind no port, and end: exit "
        "code 0 if it is good, 1 if not, 2 if a file cannot be read",
    )
    add(
        "-w",
        "--workers",
        metavar="N",
        type=_number(1, 1024),
        default=processors(),
        help="workers (default: CPUs)",
    )
    add(
        "-n",
        "--sessionlimit",
        metavar="N",
        type=_number(1, MOST_TOKENS),
        default=10_000,
        help="the most that maxsession can be raised to; sizes the session table (default: %(default)s)",
    )
    add("-u", "--user", metavar="USER", help="run as this user when started as root")
    add(
        "--cores",
        action="store_true",
        help="allow core files, and tracing by the program's own user: to look for a fault only, since secrets and "
        "keys are in what they show (default: neither)",
    )
    add(
        "--debug",
        metavar="OPTIONS",
        type=_debug_options(program),
        default=frozenset(),
        help="debug options that are on from the beginning, such as MAIN,NET: the start itself is shown too",
    )
    add("-d", "--daemon", action="store_true", help="go to the background once the start configuration is in force")
    add(
        "--ctrl-group",
        metavar="GROUP",
        help="this group may connect to the control socket too, for commands that change nothing; the user of the "
        "program must belong to it (default: only its user and root)",
    )
    add(
        "--access",
        metavar="FILE",
        help="who in the control group may do what: a line each, such as `group oncall say kill *`, `group watch read` "
        "or `user deploy all`; whom it does not name may say nothing. Read anew at SIGHUP. Root and the user of the "
        "program may do everything (default: the control group may read)",
    )
    add(
        "--auditlog",
        metavar="FILE",
        help="a file for one line of JSON for each change by a command, and for each that was denied: who, when, why, "
        "and the command (default: none)",
    )
    add(
        "--log-stamps",
        choices=("seconds", "milliseconds"),
        default="seconds",
        help="of log lines in the text form: with milliseconds the time has a fraction and its zone, 235959.123+0100 "
        "(default: %(default)s)",
    )
    add("--log-format", choices=("text", "json"), default="text", help="form of the log lines (default: %(default)s)")
    add(
        "--log-lines",
        choices=("gathered", "at-once"),
        default="gathered",
        help="the lines of sessions that are over are gathered for a quarter of a second at most and then written in "
        "one piece, or each at once; into a terminal or a pipe every line goes at once (default: %(default)s)",
    )
    for sort, most in program.ceilings.items():
        add(
            f"--max-{sort}s",
            metavar="N",
            type=_number(1, 10_000),
            default=most,
            help=f"most {sort}s (default: %(default)s)",
        )
    add(
        "--grace",
        metavar="SECONDS",
        type=_number(0, 86_400),
        default=0,
        help="how long SIGPWR (shutdown delayed) goes on accepting first (default: %(default)s)",
    )
    add(
        "--ringd",
        metavar="SOCKET",
        help="socket of the ringd that lends the listening sockets, or off (default: RUNDIR/ringd.ctrl if it is there)",
    )
    add(
        "--metrics",
        metavar="ADDR:PORT",
        type=_address,
        default=program.exporter_address,
        help="where the exporter answers (/ is the status page, /metrics, /livez, /readyz); off for none, port 0 for "
        "any (default: %(default)s)",
    )
    add(
        "--metrics-token",
        metavar="FILE",
        help="a file, not readable by everybody, with a token of 16 characters or more: whoever sends it "
        "(Authorization: Bearer TOKEN) sees names and addresses in full on the status page; without it they are seen "
        f"over the socket RUNDIR/{program.name}.http only",
    )
    for own in program.start_options:
        add(f"--{own.name}", metavar=own.metavar, help=own.help)
    add("--load-file", metavar="FILE", default=LOADAVG, help=argparse.SUPPRESS)
    add("--pressure-file", metavar="FILE", help=argparse.SUPPRESS)
    version = f"{program.name} {program.version} ({program.form})"
    add("--version", action=_Version, nargs=0, const=version, help="show program's version number and exit")
    return parser


class _Version(argparse.Action):
    """Tells it in one line, however narrow the terminal is."""

    def __call__(self, parser: argparse.ArgumentParser, *_rest: object) -> None:
        print(self.const)
        parser.exit()


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {lowest} to {highest}")
        return int(text)

    return parse


def _debug_options(program: Program) -> Callable[[str], frozenset[str]]:
    def parse(text: str) -> frozenset[str]:
        named = {name.upper() for name in text.split(",")}
        unknown = named - program.debug_options.keys() - {ALL}
        if unknown:
            allowed = ", ".join([*program.debug_options, ALL])
            raise argparse.ArgumentTypeError(f"'{', '.join(sorted(unknown))}' is unknown; allowed: {allowed}")
        return frozenset(program.debug_options if ALL in named else named)

    return parse


def _address(text: str) -> HttpAddress | None:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
