"""`pdeliver`: puts the mail on standard input into a mailbox.

Made to be called by a mail server, once a mail. The mailbox is made if it does not exist. The mail is stored with CRLF
line ends, also at its end, and never held in memory whole. The quota is checked before the delivery, without the new
mail and without a lock: deliveries at the same time can overshoot.

Exit codes: 0 delivered; 1 over quota; 64 bad command line or mailbox name; 65 no mail on standard input; 75 try again
later (as in sysexits.h, so that a mail server keeps the mail in its queue on 75, and returns it to the sender on the
others).
"""

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from popular.protocol.dotstuff import LineEnds, Unstuffer
from popular.protocol.xpop import BadMailboxName, BadRequest, check_sid
from popular.store.maildir.maildir import MailboxError, Maildir
from popular.store.messages import DELIVERED, NOT_DELIVERED, OVER_QUOTA
from popular.store.tools.commandline import Parser, whole
from supervisor.runtime.logline import PlainLog

EXIT_DELIVERED = 0
EXIT_OVER_QUOTA = 1
EXIT_USAGE = 64
EXIT_NO_MAIL = 65
EXIT_TRY_AGAIN = 75

FORMATS = ("LF", "CRLF", "NET")

_CHUNK = 65536
_MEBIBYTE = 1024 * 1024
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class NoMail(Exception):
    """The input holds not a single octet of mail."""


class CutOff(Exception):
    """The input ends before the line with the single dot: the rest of the mail is missing."""


def crlf_content(chunks: Iterable[bytes], form: str) -> Iterator[bytes]:
    """The mail in `chunks`, which has this format, as content for a Maildir. Raises NoMail, CutOff."""
    last = b""
    for piece in _plain(chunks, form):
        if piece:
            last = (last + piece[-2:])[-2:]
            yield piece
    if not last:
        raise NoMail
    if last != b"\r\n":
        yield b"\r\n"


def _plain(chunks: Iterable[bytes], form: str) -> Iterator[bytes]:
    # In every format: a mail in CRLF may hold a bare LF too, and what is stored is sent as CRLF, with the size it has.
    yield from map(LineEnds().feed, _unstuffed(chunks) if form == "NET" else chunks)


def _unstuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unstuffer = Unstuffer()
    has_begun = False
    for chunk in chunks:
        has_begun = has_begun or bool(chunk)
        yield unstuffer.feed(chunk)
        if unstuffer.done:
            return
    if has_begun:
        raise CutOff


def full_of(maildir: Maildir, most_octets: int, most_mails: int) -> str | None:
    """Which limit a mailbox has reached, for people; None if there is room. 0 = no limit. Raises MailboxError."""
    if not most_octets and not most_mails:
        return None
    messages = maildir.list().messages
    octets = sum(message.size for message in messages)
    if most_octets and octets >= most_octets:
        return f"{octets} octets of {most_octets}"
    if most_mails and len(messages) >= most_mails:
        return f"{len(messages)} mails of {most_mails}"
    return None


def options() -> Parser:
    """The command line."""
    parser = Parser("pdeliver", "Puts the mail on standard input into a mailbox.", EXIT_USAGE)
    add = parser.add_argument
    most = 2**40
    add("-q", "--quota", metavar="QUOTA", type=whole(0, most), default=0, help="MiB; 0 = no limit (default)")
    add("-Q", "--maxnum", metavar="NUM", type=whole(0, most), default=0, help="mails; 0 = no limit (default)")
    add("-m", "--mailboxdir", metavar="DIR", default="/pop", help="root of the mailboxes (default: %(default)s)")
    add(
        "-f",
        "--format",
        metavar="FORMAT",
        type=str.upper,
        choices=FORMATS,
        default="LF",
        help="of the mail: LF (default), CRLF, or NET: CRLF, dot-stuffed, ended by a line with a single dot",
    )
    add(
        "-l",
        "--logfile",
        metavar="FILE",
        default="/var/log/popular/pdeliver",
        help="- for standard error, /dev/null for none (default: %(default)s)",
    )
    add("-i", "--id", metavar="ID", default="-", help="stands in the log lines as the session id")
    add("mailbox", help="path of the mailbox below DIR")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs pdeliver; returns its exit code."""
    parser = options()
    chosen = parser.parse_args(argv)
    try:
        check_sid(chosen.id)
        maildir = Maildir(Path(chosen.mailboxdir), chosen.mailbox)
    except (BadMailboxName, BadRequest) as fault:
        parser.error(str(fault))
    for number in _ENDING:
        signal.signal(number, _give_up)
    return _deliver(
        maildir,
        chosen.quota * _MEBIBYTE,
        chosen.maxnum,
        form=chosen.format,
        log=_open_log(chosen.logfile),
        sid=chosen.id,
    )


def _deliver(maildir: Maildir, most_octets: int, most_mails: int, *, form: str, log: PlainLog, sid: str) -> int:
    try:
        full = full_of(maildir, most_octets, most_mails)
        if full:
            log(OVER_QUOTA, sid, mailbox=maildir.name, holds=full)
            return _fail(EXIT_OVER_QUOTA, f"mailbox {maildir.name} is full: {full}")
        message = maildir.deliver(crlf_content(_standard_input(), form), before_link=_ignore_signals)
    except NoMail:
        log(NOT_DELIVERED, sid, mailbox=maildir.name, reason="no mail on standard input")
        return _fail(EXIT_NO_MAIL, "there is no mail on standard input")
    except CutOff:
        log(NOT_DELIVERED, sid, mailbox=maildir.name, reason="the mail on standard input has no end")
        return _fail(EXIT_TRY_AGAIN, "the mail on standard input ends without the line with a single dot")
    except MailboxError as error:
        log(NOT_DELIVERED, sid, mailbox=maildir.name, reason=error)
        return _fail(EXIT_TRY_AGAIN, str(error))
    log(DELIVERED, sid, mailbox=maildir.name, file=message.name, size=message.size)
    return EXIT_DELIVERED


def _standard_input() -> Iterator[bytes]:
    return iter(lambda: os.read(0, _CHUNK), b"")


def _fail(code: int, text: str) -> int:
    print(f"pdeliver: {text}", file=sys.stderr)
    return code


def _open_log(path: str) -> PlainLog:
    """Mail comes before logs: a log file that cannot be opened is said once, and the mail is delivered."""
    try:
        return PlainLog("pdeliver", path)
    except OSError as error:
        print(f"pdeliver: log file {path}: {error.strerror}; going on without", file=sys.stderr)
        return PlainLog("pdeliver", os.devnull)


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    """A signal ends the delivery the way every failure does: nothing is left behind, the mail server tries again."""
    _ignore_signals()  # another one must not end the tidying up
    raise SystemExit(EXIT_TRY_AGAIN)


def _ignore_signals() -> None:
    """From the moment when the mail is in the mailbox: to try again would be to deliver it twice."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
