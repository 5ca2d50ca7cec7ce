"""What the demo prints: what runs where, what to try, and then the sessions and failed logins of the proxy."""

import shlex
import time
from pathlib import Path

from popular.demo.certificates import AUTHORITY
from popular.demo.contents import HOST, MAILS, Ports
from popular.demo.site import GLANCE_SECONDS, Site, program
from popular.messages import LOGIN_FAILED, SESSION_END


def commands(directory: Path, ports: Ports) -> list[str]:
    """To be typed in a shell; a test runs each."""
    authority, run = directory / AUTHORITY, directory / "run"
    words: list[list[str | Path]] = [
        ["curl", f"pop3://joe:joe@{HOST}:{ports.pop3}/1"],
        ["curl", "--cacert", authority, f"pop3s://joe:joe@{HOST}:{ports.pop3s}/2"],
        ["curl", "--cacert", authority, "--ssl-reqd", f"pop3://ann:ann@{HOST}:{ports.pop3}/"],
        [program("pstatus"), "-l", "--rundir", run],
        [program("pcontrol"), "-r", run, "apply", directory / "pproxy.rc"],
    ]
    return [shlex.join(map(str, line)) for line in words]


def announcement(directory: Path, ports: Ports) -> str:
    """What runs where, and what to try."""
    page = f"            its status page        http://{ports.metrics}/\n" if ports.metrics is not None else ""
    lines = "\n".join(f"  {line}" for line in commands(directory, ports))
    return f"""\
A small mail site is running in {directory}. Ctrl-C ends it and removes everything.

  pproxy    the proxy              {HOST} port {ports.pop3} (POP3 and STLS), {ports.pop3s} (POP3S)
{page}\
  pserv     the storage server     {HOST} port {ports.store}
  pcheckd   "is there mail?"       {HOST} port {ports.check} (UDP)

  user joe, password joe           {len(MAILS)} mails
  user ann, password ann           no mail: answered by the proxy alone

Try, in another shell:

{lines}

The last one takes up what you have changed in pproxy.rc, without a restart.
The logs are in {directory / "log"}. Sessions and failed logins of pproxy:
"""


def follow(log: Path, site: Site) -> None:
    """Prints the sessions and failed logins of a log file until a signal comes. Raises CannotRun if a program ends."""
    names = {SESSION_END.name, LOGIN_FAILED.name}
    with log.open(errors="replace") as file:
        part = ""
        while site.wanted:
            part += file.readline()
            if not part.endswith("\n"):
                site.check()
                time.sleep(GLANCE_SECONDS)
                continue
            if names.intersection(part.split(" ", 9)[8:9]):
                print(f"  {part}", end="", flush=True)
            part = ""
