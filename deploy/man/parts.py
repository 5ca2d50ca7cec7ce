"""The parts of a manual page: troff, and what follows from a program's tables. Pure."""

import argparse
import signal
import textwrap
from collections.abc import Iterable, Sequence

from popular.messages import POPULAR_MESSAGES
from popular.proxy.session.machine import endings as proxy_endings
from popular.store.messages import STORE_MESSAGES
from popular.store.pserv import endings as store_endings
from supervisor import main, options
from supervisor.control.commands import manual
from supervisor.control.commands.manual import escape
from supervisor.program import Program
from supervisor.runtime import signals
from supervisor.runtime.messages import SUPERVISOR_MESSAGES, Message

Section = tuple[str, str]
"""Heading and troff."""

LEVELS = {
    "DBG": "for the developer",
    "INF": "the normal course of things",
    "ERR": "a user's doing, such as a wrong password",
    "ADM": "the administrator should look, not urgently",
    "SOS": "critical: look at once",
    "BUG": "a fault of the program",
}

SIGNAL_EFFECTS = {
    "all": "ends all sessions and the program (shutdown all)",
    "parent": "ends the master; its workers finish their sessions (shutdown parent)",
    "children": "ends all sessions; the program goes on with new workers (shutdown children)",
    "delayed": "accepts nobody any more, ends with the last session (shutdown delayed)",
}

_NO_LIMITS = {"sessionlimit": 10_000}


# --- troff ------------------------------------------------------------------------------------------------------------


def text(*paragraphs: str) -> str:
    """Paragraphs."""
    return "\n.PP\n".join(map(escape, paragraphs))


def terms(rows: Iterable[tuple[object, str]]) -> str:
    """A list of words and what they mean."""
    return "\n".join(f".TP\n\\fB{escape(str(word))}\\fR\n{escape(meaning)}" for word, meaning in rows)


def example(*lines: str) -> str:
    """Lines as they are typed."""
    return "\n".join([".RS 4", ".nf", *map(escape, lines), ".fi", ".RE"])


def see_also(*pages: str) -> Section:
    """References such as "pproxy(8)"."""
    split = [page.rstrip(")").split("(") for page in pages]
    return "SEE ALSO", ",\n".join(f"\\fB{escape(name)}\\fR({number})" for name, number in split)


def command(parser: argparse.ArgumentParser, *description: str) -> list[Section]:
    """The sections that every command's page begins with."""
    return [
        ("SYNOPSIS", manual.synopsis(parser)),
        ("DESCRIPTION", text(*description)),
        ("OPTIONS", manual.options(parser)),
    ]


def folded(page: str) -> str:
    """Lines of at most 79 characters where troff does not care: not in examples, and not the tag after .TP."""
    lines: list[str] = []
    as_typed = tag = False
    for line in page.splitlines():
        if line in (".nf", ".fi"):
            as_typed = line == ".nf"
        if as_typed or tag or line.startswith("."):
            lines.append(line)
        else:
            first, *rest = textwrap.wrap(line, 79, break_long_words=False, break_on_hyphens=False) or [line]
            lines += [first, *(f"\\&{part}" if part[0] in ".'" else part for part in rest)]
        tag = line == ".TP"
    return "".join(f"{line}\n" for line in lines)


# --- the supervised programs ------------------------------------------------------------------------------------------


def daemon(program: Program, *description: str) -> list[Section]:
    """Options, signals, files of a program that the supervisor runs."""
    name = program.name
    files = [
        (f"RUNDIR/{name}.ctrl", "link to the newest control socket; pcontrol speaks to it"),
        (f"RUNDIR/{name}.PID.ctrl", "the control socket, for its owner only (and to read for --ctrl-group)"),
        (f"RUNDIR/{name}.http", "link to the newest socket of an exporter: HTTP, for who may use the control socket"),
        (f"RUNDIR/{name}.state", "link to the session table; pstatus reads it"),
        (f"RUNDIR/{name}.pid", "process id of the master"),
        (f"RUNDIR/{name}.N.lock", "held as long as an instance, or a worker that it left, lives"),
        (f"/etc/popular/{name}.rc", "where start scripts look for the start configuration (option --config)"),
    ]
    exits = [
        (0, "ended by a signal or by the command shutdown"),
        (
            main.EXIT_FAILED,
            "it could not start, or a line of the start configuration was refused: message on standard error",
        ),
        (main.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(options.options(program), *description),
        ("SIGNALS", text("Signals go to the master.") + "\n" + terms(_signals())),
        ("FILES", terms(files)),
        ("EXIT STATUS", terms(exits)),
    ]


def names_of(numbers: Iterable[signal.Signals]) -> str:
    """Signals in a row."""
    return ", ".join(number.name for number in numbers)


def _signals() -> Iterable[tuple[str, str]]:
    yield names_of(signals.REOPENS), "open the log file anew, under the name in the variable logfile"
    yield names_of(signals.IGNORED), "do nothing; the log tells that they came (signal_ignored)"
    for number, how in signals.SHUTDOWNS.items():
        yield number.name, SIGNAL_EFFECTS[how]


def control(program: Program, rc: Sequence[str]) -> list[Section]:
    """Variables and commands of a program."""
    return [
        (
            "DESCRIPTION",
            text(
                f"{program.name} is configured while it runs, by commands that pcontrol(1) carries to its control "
                "socket. An rc file is a file of such commands.",
                "A command is one line of words with blanks between them. A word with a blank or a quotation mark in "
                'it is written in quotation marks, with \\" and \\\\ inside. A word that begins with # and is not in '
                "quotation marks begins a comment, which lasts to the end of the line. Words are never abbreviated. "
                "A value that is one of a few words (on, POP3, delayed) is taken in capital or small letters; "
                "commands, names of variables and parameters, and all other values are taken as they stand.",
                "In a file, `include FILE` stands for the lines of another file, relative to the file that says it. A "
                "file ends its lines with LF; a CR before it, and a byte order mark in front of it, do not count.",
                "When a command is answered with +OK, what it said is in force in every worker: each connection that "
                "is accepted from then on is served accordingly. Sessions that were there before go on under the "
                "configuration that they began with. When it is answered with -ERR, nothing has changed, and the "
                "answer says why.",
            ),
        ),
        ("VARIABLES", manual.variables(program.variables, _NO_LIMITS)),
        ("COMMANDS", manual.commands(program.commands)),
        ("DEBUG OPTIONS", terms(sorted(program.debug_options.items()))),
        ("EXAMPLE", text("A start configuration:") + "\n" + example(*rc)),
    ]


# --- the log ----------------------------------------------------------------------------------------------------------


def messages() -> list[Message]:
    """All messages of all programs, by number."""
    return sorted((*SUPERVISOR_MESSAGES, *POPULAR_MESSAGES, *STORE_MESSAGES))


def _message(row: Message) -> tuple[str, str]:
    most = f" At most {row.most} a minute{' of each ' + row.by if row.by else ''}." if row.most else ""
    return f"{row.number:04x} {row.level} {row.name}", row.help + most


def log() -> list[Section]:
    """popular-log(7)."""
    fields = (
        ("date", "year, month, day: 20260131"),
        (
            "time",
            "hour, minute, second: 235959, in the time zone of the host; --log-stamps milliseconds: 235959.123+0100",
        ),
        ("host", "without its domain"),
        ("program", "pproxy, pserv, pcheckd, pdeliver, ringd"),
        ("pid", "process that wrote the line"),
        ("session id", "or - ; the same one in the lines of pproxy and of pserv about one session"),
        ("level", "see LEVELS"),
        ("number", "four hexadecimal digits; a number is never used for something else"),
        ("name", "one word"),
        ("values", "key=number or key='text'"),
    )
    return [
        (
            "DESCRIPTION",
            text(
                "The programs write their log files themselves: one line for each event, fields with a blank between "
                "them. Whatever came from outside is escaped (\\' \\\\ \\x0a \\u202e) and cut at 512 characters: an "
                "event is always one line. No password is ever written, unless the debug option PASS is on."
            ),
        ),
        ("FIELDS", terms(fields)),
        ("LEVELS", terms(LEVELS.items())),
        (
            "JSON",
            text(
                "With --log-format json each line is a JSON object with the keys time (RFC 3339, UTC), host, program, "
                "pid, sid, level, number, name, and the values under their own names."
            ),
        ),
        (
            "LINES WITHOUT END",
            text(
                "What others can cause as often as they like is written so many times a minute by each process, of "
                "each thing that it is about; lines_left_out then says how many more there were. session_end and "
                "login_failed, which accounting and ban tools read, are always written: one line for each session, and "
                "maxfailures for each connection."
            ),
        ),
        ("MESSAGES", terms(map(_message, messages()))),
        (
            "ENDINGS OF SESSIONS",
            text(
                "Each session ends once, and its line session_end names the reason. Besides those below there are "
                "killed (the command kill), shutdown, worker_died, internal_error, and displaced (silent, not logged "
                "in, when others waited because maxsession was reached; see the variable displace)."
            ),
        ),
        ("ENDINGS OF PPROXY", terms(proxy_endings.ENDINGS.items())),
        ("ENDINGS OF PSERV", terms(store_endings.ENDINGS.items())),
        see_also("pproxy(8)", "pserv(8)", "pcheckd(8)", "ringd(8)", "pdeliver(1)"),
    ]
