"""`pclean`: removes what broken deliveries left in the `tmp` of mailboxes, and old mail if it is told to.

Made to be called by a timer once a day. It may run while mail is delivered and read: a file in `tmp` counts as left
over when nobody has written or read it for so long that no delivery can still be at work on it; mail that vanishes is
nothing new to `pserv`.

Exit codes: 0 done; 1 something could not be looked into or removed, and the rest is done; 2 bad command line.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from popular.protocol.xpop import BadMailboxName, check_mailbox_name
from popular.store.maildir.cleaning import TMP, Cleaning, Old
from popular.store.maildir.folders import RootUnusable
from popular.store.maildir.listing import CUR, NEW
from popular.store.tools.commandline import Parser
from supervisor.control.language.kinds import Time
from supervisor.control.language.lookups import Lookups, Unfit

EXIT_DONE = 0
EXIT_FAULTS = 1
EXIT_USAGE = 2

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
_HOUR = 3600
_AGE = Time(_HOUR, 3660 * 24 * _HOUR)
DEFAULT_TMP = 36 * _HOUR
"""What the inventor of the Maildir suggests."""


def options() -> Parser:
    """The command line."""
    parser = Parser(
        "pclean", "Removes from mailboxes what broken deliveries left in tmp, and old mail if told to.", EXIT_USAGE
    )
    add = parser.add_argument
    add("-m", "--mailboxdir", metavar="DIR", default="/pop", help="root of the mailboxes (default: %(default)s)")
    add(
        "-t",
        "--tmp",
        metavar="TIME",
        type=_age,
        default=DEFAULT_TMP,
        help=f"remove files in tmp that are older than this, as 2d or 90m30s (default: {_AGE.format(DEFAULT_TMP)})",
    )
    add("--new", metavar="TIME", type=_age, help="also remove mail in new that is older: nobody has read it")
    add("--cur", metavar="TIME", type=_age, help="also remove mail in cur that is older: it was read, and left there")
    add("-n", "--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    add("-v", "--verbose", action="store_true", help="name each file that is removed")
    add("mailbox", nargs="*", help="only these mailboxes, and those below them (default: all)")
    return parser


def _age(text: str) -> int:
    try:
        return _AGE.parse(text, Lookups())
    except Unfit as unfit:
        raise argparse.ArgumentTypeError(str(unfit)) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs pclean; returns its exit code."""
    parser = options()
    chosen = parser.parse_args(argv)
    try:
        for mailbox in chosen.mailbox:
            check_mailbox_name(mailbox)
    except BadMailboxName as error:
        parser.error(str(error))
    asked = {TMP: chosen.tmp, NEW: chosen.new, CUR: chosen.cur}
    limits = {folder: float(seconds) for folder, seconds in asked.items() if seconds is not None}
    cleaning = Cleaning(Path(chosen.mailboxdir), limits, remove=not chosen.dry_run)
    try:
        for mailbox in chosen.mailbox or [""]:
            for old in cleaning.walk(mailbox):
                if chosen.verbose or chosen.dry_run:
                    print(_line(old, chosen.dry_run))
    except RootUnusable as error:
        print(f"pclean: {error}", file=sys.stderr)
        return EXIT_FAULTS
    for fault in cleaning.faults:
        print(f"pclean: {_printable(fault)}", file=sys.stderr)
    print(_summary(cleaning))
    return EXIT_FAULTS if cleaning.faults else EXIT_DONE


def _line(old: Old, dry: bool) -> str:
    return f"{'would remove' if dry else 'removed'} {_printable(old.path)} ({old.octets} octets)"


def _summary(cleaning: Cleaning) -> str:
    removed = "removed" if cleaning.remove else "to be removed"
    parts = [f"mailboxes {cleaning.mailboxes}"]
    for folder, count in cleaning.counts.items():
        odd = f", {count.odd} no files" if count.odd else ""
        parts.append(f"{folder} {count.old} {removed} ({count.octets} octets), {count.young} younger{odd}")
    faults = [f"faults {len(cleaning.faults)}"] if cleaning.faults else []
    return "; ".join([*parts, *faults])


def _printable(path: str) -> str:
    """Whatever a file is called, its name cannot steer a terminal, nor look like a line of ours."""
    return path.encode("ascii", "backslashreplace").decode().translate(_CONTROLS)


if __name__ == "__main__":
    sys.exit(main())
