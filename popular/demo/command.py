"""The command `popular-demo`.

    pserv and pcheckd keep the mail, pproxy stands in front of them, with TLS, pdeliver has put a few mails in.

Ctrl-C (or TERM, or HUP) ends everything in order and removes what was made; a directory that was there before stays,
empty. It works in an empty directory, or in one that it makes itself, and touches no other; needs no root, and listens
on 127.0.0.1 only.

Exit codes: 0 ended by a signal; 1 it could not start, or one of its programs ended unexpectedly; 2 bad command line.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from popular.demo.announcement import announcement, follow
from popular.demo.certificates import write_certificates
from popular.demo.contents import HOST, MAILS, Ports, mail, proxy_commands, storage_commands, users
from popular.demo.directory import own_directory
from popular.demo.site import CannotRun, Site, choose_ports
from supervisor.commandline import CommandLine
from supervisor.runtime.httpaddress import OFF, HttpAddress, parse_address
from supervisor.version import VERSION

EXIT_ENDED = 0
EXIT_FAILED = 1

DEFAULT_DIRECTORY = "popular-demo"
DEFAULT_PORT = 1110
DEFAULT_TLS_PORT = 1995
DEFAULT_METRICS = f"{HOST}:9110"


def run(directory: Path, pop3: int, pop3s: int, *, metrics: HttpAddress | None) -> None:
    """The demo, from start to end. Raises CannotRun."""
    ports = choose_ports(pop3, pop3s, metrics)
    with own_directory(directory):
        site = Site(directory)
        try:
            _set_up(site, directory, ports)
            if site.wanted:
                print(announcement(directory, ports), flush=True)
                follow(directory / "log" / "pproxy", site)
        finally:
            site.end()


def _set_up(site: Site, directory: Path, ports: Ports) -> None:
    write_certificates(directory)
    passwd = directory / "passwd"
    passwd.touch(mode=0o600)
    passwd.write_text(users())
    for subject, text in MAILS:
        site.deliver("joe", mail(subject, text))
    small = ("-w", 1, "-n", 200)
    site.start("pcheckd", "--nodaemon", "-h", HOST, "-p", ports.check, "-m", directory / "mail")
    site.start_configured("pserv", storage_commands(directory, ports), *small, "--metrics", OFF)
    site.start_configured("pproxy", proxy_commands(directory, ports), *small, "--metrics", ports.metrics or OFF)


def options() -> argparse.ArgumentParser:
    """The command line; the manual page is made from it."""
    parser = CommandLine(prog="popular-demo", description="Runs a whole small mail site in the foreground.")
    add = parser.add_argument
    add("--dir", metavar="DIR", default=DEFAULT_DIRECTORY, help="empty or new directory (default: ./%(default)s)")
    add(
        "--port",
        metavar="N",
        type=_port,
        default=DEFAULT_PORT,
        help="port of the proxy for POP3 (default: %(default)s)",
    )
    add("--tls-port", metavar="N", type=_port, default=DEFAULT_TLS_PORT,
        help="its port for POP3S (default: %(default)s)")  # fmt: skip
    add("--metrics", metavar="ADDR:PORT", type=_metrics, default=DEFAULT_METRICS,
        help="where pproxy's exporter answers; off for none (default: %(default)s)")  # fmt: skip
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser


def _metrics(text: str) -> HttpAddress | None:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port from 1 to 65535")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    chosen = options().parse_args(argv)
    try:
        run(Path(chosen.dir).absolute(), chosen.port, chosen.tls_port, metrics=chosen.metrics)
    except CannotRun as error:
        print(f"popular-demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    print("The site has ended.")
    return EXIT_ENDED
