"""The pages of the commands that the supervisor does not run: their options and exit codes, and a few words."""

from deploy.man.parts import Section, command, example, names_of, see_also, terms, text
from metrics import live, pstatus
from popular.demo import command as demo
from popular.pdm import pcdb, ptestpdm
from popular.programs import PROGRAMS
from popular.protocol.mailcheck import Mail
from popular.proxy.session.machine.phases import STATES
from popular.store.pserv.phases import STATES as STORE_STATES
from popular.store.tools import pcheck, pclean
from popular.store.tools import pcheckd as mailcheckd
from popular.store.tools import pdeliver as deliver
from supervisor.control.commands import manual
from supervisor.control.commands.manual import escape
from supervisor.pcontrol import connection
from supervisor.pcontrol import options as pcontrol
from supervisor.ringd import main as ringd
from supervisor.runtime import signals


def apply_options() -> str:
    """The options that only `pcontrol apply` has."""
    known = {action.dest for action in pcontrol.options_parser(PROGRAMS)._actions} | {"files"}
    parser = pcontrol.subcommand_parser("apply", PROGRAMS)
    parser._actions = [action for action in parser._actions if action.dest not in known]
    return manual.options(parser)


def pcontrol_page() -> list[Section]:
    prompt = text(
        "At the prompt, help lists the commands, ? explains the prompt itself, clear clears the screen; quit, exit "
        "and Ctrl-D leave. When the program was started anew the prompt connects to it again before the next command."
    )
    files = text(
        "A file holds one command a line. A line ends at LF, a CR before it is dropped. A word that begins with # and "
        "is not in quotes begins a comment, to the end of the line. The line `include FILE` stands for the lines of "
        "another file, whose name is relative to the file that says it. All faults of form are told before the first "
        "command is said; an error names FILE:LINE:COLUMN."
    )
    whole = (
        text(
            "The first word can be one of these. A file that has such a name is meant by ./check. FILE is then the "
            "whole configuration: what it does not say is as the program's start options and defaults have it. The "
            "options of the connection may stand after the subcommand too."
        )
        + "\n"
        + terms((f"pcontrol {word}", help) for word, help in pcontrol.SUBCOMMANDS.items())
        + "\n.PP\nOptions of apply:\n"
        + apply_options()
        + "\n.PP\n"
        + text(
            "Lines that go are printed with -, lines that come with +, in colours on a terminal unless NO_COLOR is "
            "set. All faults of a file are told, but none that only follows from another. A file that is watched and "
            "refused is tried again every 30 seconds; a watch ends with exit code 0 on SIGTERM or SIGINT."
        )
    )
    return [
        *command(
            pcontrol.options_parser(PROGRAMS),
            "pcontrol says commands to a running pproxy or pserv: those of -c first, then that of the command line or "
            "those of the files. Data goes to standard output, messages to standard error. After the first command "
            "that is refused it stops.",
            "Without all of these there is a prompt, with history and completion; if standard input is no terminal, "
            "commands are read from it.",
        ),
        ("FILES OF COMMANDS", files),
        ("WHOLE CONFIGURATIONS", whole),
        ("PROMPT", prompt),
        ("EXIT STATUS", terms(connection.EXIT_CODES.items())),
        (
            "EXAMPLES",
            example(
                "pcontrol /etc/popular/pproxy.rc",
                "pcontrol show config",
                "pcontrol -c 'backend conf store1 state fake' -c 'backend show store1'",
                "pcontrol --json -c sessions",
                "pcontrol check /etc/popular/pproxy.rc",
                "pcontrol apply /etc/popular/pproxy.rc --confirm 5m",
                "pcontrol apply --watch /etc/popular/pproxy.rc",
            ),
        ),
        see_also("pproxy-control(7)", "pserv-control(7)", "pproxy(8)", "pserv(8)"),
    ]


def pstatus_page() -> list[Section]:
    states = (("STATES OF A SESSION OF PPROXY", STATES[1:]), ("STATES OF A SESSION OF PSERV", STORE_STATES[1:]))
    exits = [
        (pstatus.EXIT_SHOWN, "shown"),
        (
            pstatus.EXIT_UNREADABLE,
            "there is no state file, or it is none, or one of another version; or what is shown cannot be written",
        ),
        (pstatus.EXIT_USAGE, "bad command line, or no such column"),
    ]
    return [
        *command(
            pstatus.options(PROGRAMS),
            "pstatus shows what a running program writes into its state file: how many sessions there may be, the "
            "workers and when they last showed life, the counters, and the table of living sessions. Free rows are "
            "counted, not printed. It only reads; the program does not notice. The key that kicks alone says a "
            "command, over the control socket: what whoever has started pstatus may say there.",
            "To keep a moment for later, copy the state file, and name the copy with -f. Ages are then counted from "
            "the moment of the copy.",
            "With -l on a terminal there is a live table, with rates a second, sorted and filtered by keys. Columns "
            "that do not fit into the window are left out. Anywhere else -l prints plain text again and again.",
            "The same and more stands on the status page of the program (option --metrics), for a browser.",
        ),
        ("KEYS OF THE LIVE TABLE", terms((_key(key), meaning) for key, meaning in live.KEYS.items())),
        *((heading, "\n.br\n".join(map(escape, phrases))) for heading, phrases in states),
        ("ENVIRONMENT", terms([("NO_COLOR", "if it is set, the live table has no colours")])),
        ("EXIT STATUS", terms(exits)),
        (
            "EXAMPLES",
            example(
                "pstatus -l",
                "pstatus -a --filter backend=store1 --sort sent --reverse",
                "pstatus --json --filter user=ann | jq '.sessions[].client'",
            ),
        ),
        see_also("pproxy(8)", "pserv(8)", "pcontrol(1)"),
    ]


_ARROWS = {"←": "left", "→": "right", "↑": "up", "↓": "down"}


def _key(key: str) -> str:
    """A key in plain letters: not every terminal that shows manual pages has arrows."""
    return ", ".join(_ARROWS.get(word, word) for word in key.split())


def pcheckd_page() -> list[Section]:
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
            "It reads directories and nothing else. It answers who is in --trusted, which is this host only if it is "
            "not said; others get no answer, and are told in the log (untrusted_peer) once a minute. Mind that an "
            "address can be forged in UDP: the network should let nobody else send from those of the proxies.",
        ),
        (
            "PROTOCOL",
            text("*M and a mailbox asks for mail, *L for the load. An answer is +OK and a text, or -ERR and a text.")
            + "\n"
            + terms(codes),
        ),
        (
            "SIGNALS",
            terms(
                [(names_of(signals.REOPENS), "open the log file anew"), ("SIGTERM, SIGINT, SIGQUIT, SIGPWR", "end it")]
            ),
        ),
        ("FILES", terms([("RUNDIR/pcheckd.pid", "process id of the first process")])),
        ("EXIT STATUS", terms(exits)),
        see_also("pcheck(1)", "pserv(8)", "pproxy(8)"),
    ]


MAIL_CODES = ("no mail", "only mail that was read already", "new mail", "the load is too high to look")


def ringd_page() -> list[Section]:
    exits = [
        (0, "ended by a signal"),
        (ringd.EXIT_FAILED, "it could not start"),
        (ringd.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(
            ringd.options(),
            "ringd opens listening sockets for pproxy(8) and pserv(8), also for ports below 1024, and keeps a copy of "
            "each. It gives the same sockets to the next program of that user which asks for the address. So a program "
            "can end, in whatever way, and another version of it start: clients that come in between wait, and none "
            "is refused.",
            "Start ringd first. A program uses it when RUNDIR/ringd.ctrl is there, or when it is told so by --ringd.",
            "Two programs may hold the same sockets, and both accept from them: start the new one, then end the old "
            "one with shutdown delayed. It does not matter whether the new one has as many workers.",
            "Sockets that the configuration does not want any more (vserv del, state offline, set workers) are "
            "emptied and closed. Those of a program that has ended are kept for the time of --keep; who still "
            "waits in them then is cut off.",
            "Only root and USER may connect. Started as root, ringd becomes USER and keeps the right to bind ports "
            "below 1024, and nothing else. It accepts no connection of a client.",
            "ringd itself can be ended and started again while the programs run: they give the new one their sockets. "
            "What they have open goes on meanwhile; nothing new can be opened.",
        ),
        (
            "SIGNALS",
            terms(
                [(names_of(signals.REOPENS), "open the log file anew"), ("SIGTERM, SIGINT, SIGQUIT, SIGPWR", "end it")]
            ),
        ),
        (
            "FILES",
            terms([(ringd.DEFAULT_SOCKET, "its socket, for USER only; the directory must be writable for USER")]),
        ),
        ("EXIT STATUS", terms(exits)),
        (
            "EXAMPLES",
            text("Ports 110 and 995 for pproxy, which never runs as root; then another version of it:")
            + "\n"
            + example(
                "ringd -d -u popular -p 110,995",
                "su popular -s /bin/sh -c 'pproxy -d -c /etc/popular/pproxy.rc'",
                "kill -s PWR `cat /var/run/popular/pproxy.pid`",
                "su popular -s /bin/sh -c 'pproxy -d -c /etc/popular/pproxy.rc'",
            ),
        ),
        see_also("pproxy(8)", "pserv(8)", "pcontrol(1)", "popular-log(7)"),
    ]


def _pythons_own(meaning: str) -> str:
    """What no program can do anything about, and what the exit code means there that Python has for it."""
    return "\n.PP\n" + escape(
        "What remains is what happens before the program begins: where Python cannot start at all (PYTHONHOME leads "
        f"nowhere, standard input is a directory) it ends with 1, as if {meaning}. Without the file of "
        "the program, as for a moment of an upgrade, the shell ends with 127; a signal that kills it ends it by itself."
    )


def pcheck_page() -> list[Section]:
    exits = [
        (pcheck.EXIT_OK, "the server answered; with -m: there is no mail"),
        (pcheck.EXIT_MAIL, "with -m: there is mail"),
        (pcheck.EXIT_FAILED, "no answer, a system error, -ERR, with -m: load too high; or a program that is not whole"),
        (pcheck.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(pcheck.options(), "pcheck asks a pcheckd(8) one question and prints the answer."),
        ("EXIT STATUS", terms(exits) + _pythons_own("there is mail")),
        see_also("pcheckd(8)"),
    ]


def pdeliver_page() -> list[Section]:
    exits = [
        (deliver.EXIT_DELIVERED, "delivered: the mail is on the disk"),
        (deliver.EXIT_OVER_QUOTA, "the mailbox is full"),
        (deliver.EXIT_USAGE, "bad command line, or a mailbox name with forbidden characters"),
        (deliver.EXIT_NO_MAIL, "no mail on standard input"),
        (
            deliver.EXIT_TRY_AGAIN,
            "something is wrong here, or the program is not installed whole (in the moment of an upgrade), or a mail "
            "in the format NET has no end: the mail server should try again later",
        ),
    ]
    return [
        *command(
            deliver.options(),
            "pdeliver puts the mail on standard input into a mailbox, a directory below the mail root, and makes the "
            "mailbox if it does not exist. A mail server calls it once for each mail and recipient.",
            "The quota is checked before the delivery, without a lock: deliveries at the same time can overshoot.",
        ),
        ("EXIT STATUS", terms(exits) + _pythons_own("the mailbox is full")),
        ("EXAMPLE", example("pdeliver -m /var/spool/popular -q 100 3/2d/joe.doe < mail")),
        see_also("pserv(8)", "pclean(1)", "popular-log(7)"),
    ]


def pclean_page() -> list[Section]:
    exits = [
        (pclean.EXIT_DONE, "done"),
        (pclean.EXIT_FAULTS, "something could not be looked into or removed; the rest is done"),
        (pclean.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(
            pclean.options(),
            "A delivery writes a mail into the folder tmp of the mailbox first; if it is killed there, the file stays. "
            "pclean goes through all mailboxes below the mail root and removes what is left over so, and mail that is "
            "older than it may be, if it is told to. A timer calls it once a day (pclean.timer); mail can be "
            "delivered and read meanwhile.",
            "A file in tmp is as old as the last time that it was written or read. Mail is as old as its name and the "
            "time of its file say; where they differ, as after a copy, the younger counts.",
            "The last line says how many mailboxes there were, and for each sort of folder what was removed and what "
            "was younger. Only regular files are removed, and no symbolic link is followed. A mailbox is a directory "
            "with new and tmp in it; those whose names begin with a dot, as other servers' folders, are passed over.",
        ),
        ("EXIT STATUS", terms(exits)),
        (
            "EXAMPLES",
            example(
                "pclean -m /var/spool/popular --dry-run",
                "pclean -m /var/spool/popular --cur 90d 3/2d/joe.doe",
            ),
        ),
        see_also("pdeliver(1)", "pserv(8)"),
    ]


def pcdb_page() -> list[Section]:
    exits = [
        (pcdb.EXIT_MADE, "made; bad lines, if there were any, are told"),
        (pcdb.EXIT_NOT_MADE, "not made; the old database is as it was"),
        (pcdb.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(
            pcdb.options(),
            "pcdb makes a constant database for the module cdb of pproxy(8) from lines as the module passwd has them: "
            "NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET]. Of several lines of one user the first counts.",
            "The new database is written beside the old one and put into its place by a rename: whoever looks sees one "
            "of the two, whole, and pproxy takes the new one up by itself. It keeps owner, group and mode of the old "
            "one; the first one has mode 0640, and must be readable for the proxy's user (chgrp popular FILE).",
            "It has less than 4 GiB: some 20 million users. Where no user comes at all, because what prints them has "
            "failed, nothing is made; a failure in the middle cannot be seen: better print into a file first.",
        ),
        ("EXIT STATUS", terms(exits)),
        (
            "EXAMPLES",
            example(
                "pcdb /etc/popular/users.cdb /etc/popular/users",
                "psql -Atc 'select ...' >users.new && pcdb /etc/popular/users.cdb users.new",
                "pcontrol pdm add users cdb /etc/popular/users.cdb",
            ),
        ),
        see_also("pproxy(8)", "pproxy-control(7)", "popular-pdm(7)"),
    ]


def ptestpdm_page() -> list[Section]:
    exits = [
        (ptestpdm.EXIT_ANSWERED, "all logins were answered, whether admitted or not"),
        (ptestpdm.EXIT_FAILED, "a module could not be opened or could not answer, or a line is faulty"),
        (ptestpdm.EXIT_USAGE, "bad command line"),
    ]
    return [
        *command(
            ptestpdm.options(),
            "ptestpdm asks authentication modules what they make of logins, as pproxy(8) would, without a proxy. "
            "Passwords are never printed.",
        ),
        ("EXIT STATUS", terms(exits)),
        see_also("pproxy(8)", "pproxy-control(7)", "popular-pdm(7)"),
    ]


def demo_page() -> list[Section]:
    exits = [
        (demo.EXIT_ENDED, "ended by a signal"),
        (demo.EXIT_FAILED, "it could not start, or one of its programs ended unexpectedly"),
        (2, "bad command line"),
    ]
    return [
        *command(
            demo.options(),
            "popular-demo runs a storage server, its mail check and a proxy on 127.0.0.1, with two users: joe "
            "(password joe) has mail, ann (password ann) has none. The proxy speaks TLS with a certificate that is "
            "made at the start; DIR/ca.pem is what clients have to trust. It prints what runs where and what to try.",
            "Ctrl-C ends everything and removes what was made. A directory with files in it is refused.",
        ),
        ("EXIT STATUS", terms(exits)),
        (
            "EXAMPLES",
            example(
                "curl pop3://joe:joe@127.0.0.1:1110/1",
                "curl --cacert popular-demo/ca.pem pop3s://joe:joe@127.0.0.1:1995/1",
            ),
        ),
        see_also("pproxy(8)", "pcontrol(1)", "pstatus(1)"),
    ]
