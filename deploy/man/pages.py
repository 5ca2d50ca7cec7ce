"""What stands on which manual page. Pure: `pages()` gives file names and texts.

Options, variables, sentences, messages, signals and exit codes come from the tables; only what no table knows is
written here.
"""

import argparse
import textwrap
from collections.abc import Iterable, Sequence

from metrics import pstatus
from popular import demo
from popular.messages import POPULAR_MESSAGES
from popular.protocol.mailcheck import Mail
from popular.proxy import endings as proxy_endings
from popular.proxy.machine import Phase
from popular.proxy.program import PROGRAM as PPROXY
from popular.store import deliver, mailcheckd, pcheck
from popular.store import endings as store_endings
from popular.store.machine import Phase as StorePhase
from popular.store.messages import STORE_MESSAGES
from popular.store.program import PROGRAM as PSERV
from popular.version import VERSION
from supervisor import main, signals
from supervisor.control import client, manual
from supervisor.control.manual import escape
from supervisor.messages import DEBUG, SUPERVISOR_MESSAGES, Message
from supervisor.program import Program

Section = tuple[str, str]

DATE = "2026-11-23"
"""When what is written here was last changed."""

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
    """Lines of at most 79 characters where troff does not care: not in examples, and not the tag behind .TP."""
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
        (f"RUNDIR/{name}.PID.ctrl", "the control socket, for its owner only"),
        (f"RUNDIR/{name}.state", "link to the session table; pstatus reads it"),
        (f"RUNDIR/{name}.pid", "process id of the master"),
        (f"RUNDIR/{name}.N.lock", "held as long as an instance, or a worker that it left, lives"),
        (f"/etc/popular/{name}.rc", "where start scripts look for the start configuration (option --config)"),
    ]
    exits = [
        (0, "ended by a signal or by the sentence shutdown"),
        (
            main.EXIT_FAILED,
            "it could not start, or a line of the start configuration was refused: message on standard error",
        ),
        (main.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(main.options(program), *description),
        ("SIGNALS", text("Signals go to the master.") + "\n" + terms(_signals())),
        ("FILES", terms(files)),
        ("EXIT STATUS", terms(exits)),
    ]


def _signals() -> Iterable[tuple[str, str]]:
    yield signals.REOPEN.name, "opens the log file anew, under the name in the variable logfile"
    for number, how in signals.SHUTDOWNS.items():
        yield number.name, SIGNAL_EFFECTS[how]


def control(program: Program, rc: Sequence[str]) -> list[Section]:
    """Variables and sentences of a program."""
    return [
        (
            "DESCRIPTION",
            text(
                f"{program.name} is configured while it runs, by sentences that pcontrol(1) carries to its control "
                "socket. An rc file is a file of such sentences.",
                "A sentence is one line of words with blanks between them. A word with a blank or a quotation mark in "
                'it is written in quotation marks, with \\" and \\\\ inside. Lines that begin with # are comments. '
                "Words are never abbreviated.",
                "When a sentence is answered with +OK, what it said is in force in every worker: each connection that "
                "is accepted from then on is served accordingly. Sessions that were there before go on under the "
                "configuration that they began with. When it is answered with -ERR, nothing has changed, and the "
                "answer says why.",
            ),
        ),
        ("VARIABLES", manual.variables(program.variables, _NO_LIMITS)),
        ("SENTENCES", manual.sentences(program.sentences)),
        ("DEBUG OPTIONS", terms(sorted(program.debug_options.items()))),
        ("EXAMPLE", text("A start configuration:") + "\n" + example(*rc)),
    ]


# --- the log ----------------------------------------------------------------------------------------------------------


def messages() -> list[Message]:
    """All messages of all programs, by number; one that several programs have is there once."""
    return sorted({DEBUG, *SUPERVISOR_MESSAGES, *POPULAR_MESSAGES, *STORE_MESSAGES})


def _message(row: Message) -> tuple[str, str]:
    return f"{row.number:04x} {row.level} {row.name}", row.help


def log() -> list[Section]:
    """popular-log(7)."""
    fields = (
        ("date", "year, month, day: 20260131"),
        ("time", "hour, minute, second: 235959, in the time zone of the host"),
        ("host", "without its domain"),
        ("program", "pproxy, pserv, pcheckd, pdeliver"),
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
        ("MESSAGES", terms(map(_message, messages()))),
        (
            "ENDINGS OF SESSIONS",
            text(
                "Each session ends once, and its line session_end names the reason. Besides those below there are "
                "killed (the sentence kill), shutdown, worker_died and internal_error."
            ),
        ),
        ("ENDINGS OF PPROXY", terms(proxy_endings.ENDINGS.items())),
        ("ENDINGS OF PSERV", terms(store_endings.ENDINGS.items())),
        see_also("pproxy(8)", "pserv(8)", "pcheckd(8)", "pdeliver(1)"),
    ]


# --- the pages --------------------------------------------------------------------------------------------------------

MODULES = (
    (
        "any BACKEND [TARGET]",
        "Lets everyone in, with any password: for backends that check it themselves. In TARGET, %u is the user name, "
        "%n the part before its last @, %d the part behind, %% a percent sign.",
    ),
    (
        "passwd FILE",
        "Users in a file, one a line: NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET]. HASH is one of crypt(3), of "
        "argon2, or has one of Dovecot's {SCHEME} prefixes. TARGET is the mailbox (XPOP, CXPOP) or the user name on "
        "the backend (POP3); empty for the client's own. SECRET is the password on a POP3 backend; without it, the "
        "client's own.",
    ),
    (
        "master [FILE]",
        "Opens a mailbox that another module found, for whoever comes from the right address with the master password. "
        "One entry a line: IP:NAMESPACE:HASH, an IPv6 address in brackets. FILE is /etc/popular/masterauth.conf if it "
        "is not given. Mail that is read in such a session stays new.",
    ),
)

PPROXY_RC = (
    "set sidprefix p01",
    "backend conf store1 host 10.0.0.1 prot CXPOP state online",
    "pdm add users passwd /etc/popular/users",
    'vserv conf main iface ANY namespace example bannerok "mail.example.org ready" state online',
)


def _pproxy() -> list[Section]:
    return [
        *daemon(
            PPROXY,
            "pproxy stands between mail programs and storage servers. It reads user name and password, asks its "
            "authentication modules who this is and where the mail lies, connects to that storage server, and then "
            "passes bytes both ways. If the mailbox is empty and its server can be asked by UDP, the proxy answers the "
            "client alone, without a connection.",
            "It opens no port until it is configured: see --config and pproxy-control(7).",
            "One master process owns the listening sockets, the control socket and the session table; the workers "
            "serve the sessions. A worker that dies is replaced, and only its own sessions are lost.",
            "Started as root with --user, the master keeps the right to bind ports below 1024 and nothing else, and "
            "the workers keep nothing.",
        ),
        see_also("pproxy-control(7)", "pcontrol(1)", "pstatus(1)", "popular-log(7)", "pserv(8)", "pcheckd(8)"),
    ]


PSERV_RC = (
    "set mailboxdir /var/spool/popular",
    "server conf iface 10.0.0.1 port 110 state online",
)


def _pserv() -> list[Section]:
    return [
        *daemon(
            PSERV,
            "pserv serves mail from Maildirs to proxies. A proxy names the mailbox (XPOP), and from then on it is "
            "POP3, already logged in. pserv asks for no password: whoever can connect can read every mailbox, so let "
            "it listen where only the proxies reach it.",
            "It opens no port until it is configured: see --config and pserv-control(7).",
            "Nothing is locked. Two sessions may have one mailbox open; a message that the other one has removed is "
            "answered with an error. Mail that was read moves from new to cur at QUIT, except in a master session.",
        ),
        see_also(
            "pserv-control(7)", "pcontrol(1)", "pstatus(1)", "popular-log(7)", "pproxy(8)", "pcheckd(8)", "pdeliver(1)"
        ),
    ]


def _pcontrol() -> list[Section]:
    prompt = text("At the prompt, help lists the sentences, /h explains the prompt itself, and Ctrl-D leaves.")
    return [
        *command(
            client.options_parser(),
            "pcontrol says sentences to a running pproxy or pserv: those of -c first, then those of the files. Data "
            "goes to standard output, messages to standard error. After the first sentence that is refused it stops.",
            "Without -c and FILE there is a prompt, with history and completion; if standard input is no terminal, "
            "sentences are read from it.",
        ),
        ("PROMPT", prompt),
        ("EXIT STATUS", terms(client.EXIT_CODES.items())),
        (
            "EXAMPLES",
            example(
                "pcontrol /etc/popular/pproxy.rc",
                "pcontrol -c 'backend conf store1 state fake'",
                "pcontrol --json -c sessions",
            ),
        ),
        see_also("pproxy-control(7)", "pserv-control(7)", "pproxy(8)", "pserv(8)"),
    ]


def _pstatus() -> list[Section]:
    states = (("STATES OF A SESSION OF PPROXY", Phase), ("STATES OF A SESSION OF PSERV", StorePhase))
    exits = [
        (pstatus.EXIT_SHOWN, "shown"),
        (pstatus.EXIT_UNREADABLE, "there is no state file, or it is none, or one of another version"),
        (pstatus.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(
            pstatus.options(),
            "pstatus prints what a running program writes into its state file: how many sessions there may be, the "
            "workers and when they last showed life, the counters, and the table of living sessions. Free rows are "
            "counted, not printed. It only reads; the program does not notice.",
            "To keep a moment for later, copy the state file, and name the copy with -f. Ages are then counted from "
            "the moment of the copy.",
        ),
        *((heading, "\n.br\n".join(escape(phase.phrase) for phase in phases)) for heading, phases in states),
        ("EXIT STATUS", terms(exits)),
        see_also("pproxy(8)", "pserv(8)", "pcontrol(1)"),
    ]


def _pcheckd() -> list[Section]:
    codes = [(mail.value, word) for mail, word in zip(Mail, MAIL_CODES, strict=True)]
    exits = [
        (0, "ended by a signal"),
        (mailcheckd.EXIT_FAILED, "it could not start"),
        (mailcheckd.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(
            mailcheckd.options(),
            "pcheckd answers proxies by UDP whether a mailbox has mail, so that they need no connection for an empty "
            "one. One packet is a question, one packet its answer.",
            "It reads directories and nothing else. It answers whoever reaches its port: keep it for the proxies.",
        ),
        (
            "PROTOCOL",
            text("*M and a mailbox asks for mail, *L for the load. An answer is +OK and a text, or -ERR and a text.")
            + "\n"
            + terms(codes),
        ),
        ("SIGNALS", terms([("SIGHUP", "opens the log file anew"), ("SIGTERM, SIGINT, SIGQUIT, SIGPWR", "end it")])),
        ("FILES", terms([("RUNDIR/pcheckd.pid", "process id of the first process")])),
        ("EXIT STATUS", terms(exits)),
        see_also("pcheck(1)", "pserv(8)", "pproxy(8)"),
    ]


MAIL_CODES = ("no mail", "only mail that was read already", "new mail", "the load is too high to look")


def _pcheck() -> list[Section]:
    exits = [
        (pcheck.EXIT_OK, "the server answered; with -m: there is no mail"),
        (pcheck.EXIT_MAIL, "with -m: there is mail"),
        (pcheck.EXIT_FAILED, "no answer, a system error, or -ERR"),
        (pcheck.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(pcheck.options(), "pcheck asks a pcheckd(8) one question and prints the answer."),
        ("EXIT STATUS", terms(exits)),
        see_also("pcheckd(8)"),
    ]


def _pdeliver() -> list[Section]:
    exits = [
        (deliver.EXIT_DELIVERED, "delivered: the mail is on the disk"),
        (deliver.EXIT_OVER_QUOTA, "the mailbox is full"),
        (deliver.EXIT_USAGE, "bad command line, or a mailbox name with forbidden characters"),
        (deliver.EXIT_NO_MAIL, "no mail on standard input"),
        (deliver.EXIT_TRY_AGAIN, "something is wrong here: the mail server should try again later"),
    ]
    return [
        *command(
            deliver.options(),
            "pdeliver puts the mail on standard input into a mailbox, a directory below the mail root, and makes the "
            "mailbox if it does not exist. A mail server calls it once for each mail and recipient.",
            "The quota is checked before the delivery, without a lock: deliveries at the same time can overshoot.",
        ),
        ("EXIT STATUS", terms(exits)),
        ("EXAMPLE", example("pdeliver -m /var/spool/popular -q 100 3/2d/joe.doe < mail")),
        see_also("pserv(8)", "popular-log(7)"),
    ]


def _demo() -> list[Section]:
    exits = [
        (demo.EXIT_ENDED, "ended by a signal"),
        (demo.EXIT_FAILED, "it could not start, or one of its programs ended unexpectedly"),
        (2, "bad command line"),
    ]
    return [
        *command(
            demo.options(),
            "popular-demo runs a storage server, its mail check and a proxy on 127.0.0.1, with two users: joe "
            "(password joe) has mail, ann (password ann) has none. It prints what runs where and what to try.",
            "Ctrl-C ends everything and removes what was made. A directory with files in it is refused.",
        ),
        ("EXIT STATUS", terms(exits)),
        ("EXAMPLE", example("curl pop3://joe:joe@127.0.0.1:1110/1")),
        see_also("pproxy(8)", "pcontrol(1)", "pstatus(1)"),
    ]


def _dated(page: str) -> str:
    """With the date in its first line, which the table's half leaves open."""
    return page.replace(' ""', f' "{DATE}"', 1)


def pages() -> dict[str, str]:
    """File names and troff texts of all pages."""
    contents: dict[tuple[str, int], tuple[str, list[Section]]] = {
        ("pproxy", 8): ("POP3 proxy", _pproxy()),
        ("pproxy-control", 7): (
            "variables and sentences of pproxy",
            [*control(PPROXY, PPROXY_RC), ("MODULES", terms(MODULES)), see_also("pcontrol(1)", "pproxy(8)")],
        ),
        ("pserv", 8): ("POP3 storage server", _pserv()),
        ("pserv-control", 7): (
            "variables and sentences of pserv",
            [*control(PSERV, PSERV_RC), see_also("pcontrol(1)", "pserv(8)", "pproxy-control(7)")],
        ),
        ("pcheckd", 8): ("tells by UDP whether a mailbox has mail", _pcheckd()),
        ("pcontrol", 1): ("says sentences to a running pproxy or pserv", _pcontrol()),
        ("pstatus", 1): ("prints the session table and the counters", _pstatus()),
        ("pcheck", 1): ("asks a pcheckd", _pcheck()),
        ("pdeliver", 1): ("puts a mail into a mailbox", _pdeliver()),
        ("popular-demo", 1): ("a whole small mail site in the foreground", _demo()),
        ("popular-log", 7): ("the log files and their messages", log()),
    }
    return {
        f"{name}.{number}": folded(_dated(manual.page(name, number, title, VERSION, sections)))
        for (name, number), (title, sections) in contents.items()
    }
