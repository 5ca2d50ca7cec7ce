"""`pcheck`: asks a pcheckd, prints its answer.

    pcheck -s storage1 -m 3/2d/joe.doe      is there mail?
    pcheck -s storage1                      what is the load?

Exit codes: 0 the server answered and, with -m, there is no mail; 1 with -m: there is mail; 2 no answer, a system error,
or the server answered -ERR, or that its load is too high to tell whether there is mail; 3 bad command line.
"""

import argparse
import socket
import sys
from collections.abc import Sequence

from popular.protocol.mailcheck import (
    DEFAULT_PORT,
    LONGEST_ANSWER,
    BadPacket,
    CheckFailed,
    Mail,
    parse_load_answer,
    parse_mail_answer,
    printable,
    question,
)
from popular.protocol.xpop import BadMailboxName
from popular.store.tools.commandline import Parser, positive, whole
from popular.store.tools.hosts import host_or_address

EXIT_OK = 0
EXIT_MAIL = 1
EXIT_FAILED = 2
EXIT_USAGE = 3


_BY_MAIL = {
    Mail.NONE: EXIT_OK,
    Mail.ONLY_READ: EXIT_MAIL,
    Mail.NEW: EXIT_MAIL,
    Mail.LOAD_TOO_HIGH: EXIT_FAILED,  # whether there is mail was not looked at
}
_A_DAY = 86400


def _seconds(text: str) -> float:
    seconds = positive(text)
    if seconds > _A_DAY:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a day ({_A_DAY})")
    return seconds


def options() -> Parser:
    """The command line."""
    parser = Parser("pcheck", "Asks a pcheckd for the load of its machine, or whether a mailbox has mail.", EXIT_USAGE)
    add = parser.add_argument
    add(
        "-s",
        "--server",
        metavar="SERVER",
        type=host_or_address,
        default="127.0.0.1",
        help="host of the pcheckd (default: %(default)s)",
    )
    add("-p", "--port", metavar="PORT", type=whole(1, 65535), default=DEFAULT_PORT, help="default: %(default)s")
    add("-t", "--timeout", metavar="SECONDS", type=_seconds, default=3.0, help="at most a day (default: %(default)s)")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("-l", "--get-load", action="store_true", help="ask for the load (this is the default)")
    asked.add_argument("-m", "--get-mailbox", metavar="MAILBOX", help="ask whether this mailbox has mail")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs pcheck; returns its exit code."""
    parser = options()
    chosen = parser.parse_args(argv)
    try:
        packet = question(chosen.get_mailbox)
    except BadMailboxName as fault:
        parser.error(str(fault))
    try:
        answer = _ask(chosen.server, chosen.port, packet, seconds=chosen.timeout)
    except TimeoutError:
        return _fail(f"no answer from {chosen.server} port {chosen.port} within {chosen.timeout:g} s")
    except OSError as error:
        return _fail(f"{chosen.server} port {chosen.port}: {error.strerror}")
    print(printable(answer))
    try:
        if chosen.get_mailbox is None:
            parse_load_answer(answer)
            return EXIT_OK
        return _BY_MAIL[parse_mail_answer(answer)]
    except CheckFailed:
        return EXIT_FAILED
    except BadPacket as fault:
        return _fail(f"{chosen.server} port {chosen.port}: {fault}")


def _fail(text: str) -> int:
    print(f"pcheck: {text}", file=sys.stderr)
    return EXIT_FAILED


def _ask(host: str, port: int, packet: bytes, *, seconds: float) -> bytes:
    """Sends one packet, waits for one. The socket is connected: packets of others do not count. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as asking:
        asking.settimeout(seconds)
        asking.connect(address)
        asking.send(packet)
        return asking.recv(LONGEST_ANSWER)


if __name__ == "__main__":
    sys.exit(main())
