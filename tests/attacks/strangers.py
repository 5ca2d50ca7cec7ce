"""Attacks by one stranger: what he plants, listens to, or has somebody type."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.system import test_log_secrets as secrets
from tests.system import test_names_in_full as names
from tests.system import test_planted as planted
from tests.system.site import LOOPBACK, Proxy, ScriptedBackend, free_port, log_entries, program, wait_until

Findings = Iterator[tuple[str, bool]]
"""What was done and what came of it, and whether it was withstood."""


def _fifo(_victim: Path, name: Path) -> None:
    os.mkfifo(name)
    os.chown(name, planted.NOBODY.pw_uid, planted.NOBODY.pw_gid)


def plant(directory: Path) -> Findings:
    """A1: links, second names and pipes where root writes."""
    if os.getuid() != 0:
        return
    (directory / "victim").write_bytes(planted.SECRET)
    (directory / "victim").chmod(0o600)
    plants: dict[str, Callable[[Path, Path], None]] = {**planted.PLANTS, "pipe": _fifo}
    names_there = ("pproxy.1.lock", "pproxy.ctrl", "pproxy.state", "pproxy.pid", "pproxy.1.table", "log")
    starts = touched = traces = 0
    for number, (what, mode, name, user) in enumerate(
        itertools.product(plants, (0o755, 0o1777), names_there, ("nobody",))
    ):
        run = planted._directory(directory / f"run{number}", mode, planted.NOBODY.pw_uid if mode == 0o755 else 0)
        plants[what](directory / "victim", run / name)
        options = ["-r", run, "-l", run / "log", "-w", "1", "--metrics", "off", "--ringd", "off"]
        options += ["-u", user] if user else []
        said = planted._try([program("pproxy"), *options], lambda here=run: (here / "pproxy.ctrl").is_socket())
        starts += 1
        touched += not planted._untouched(directory)
        traces += "Traceback" in said
    yield (
        f"{starts} starts beside planted links, second names and pipes: {touched} times a file of root's was touched",
        (touched == 0),
    )
    yield f"{traces} tracebacks", traces == 0


def look_for_passwords(directory: Path) -> Findings:
    """A3: every way to type a password, with every debug option but PASS."""
    port = free_port()
    with ScriptedBackend(secrets._parrot) as backend:
        rc = [
            f"backend conf b host {LOOPBACK} port {backend.port} state online",
            "pdm add all any b",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
            "debug =POP AUTH NET IO MAIN TLS CTRL RINGD",
        ]
        with Proxy(directory, rc) as proxy:
            secrets._play(port, secrets.WAYS)
            proxy.wait_for_endings(len(secrets.WAYS))
            text = proxy.logfile.read_text()
            lines = len(log_entries(proxy.logfile))
    found = [trace for trace in secrets.TRACES if trace in text]
    yield f"{len(secrets.WAYS)} ways to type a password, {lines} lines of log: {len(found)} traces of it", not found


def ask_for_names(directory: Path) -> Findings:
    """A4: whoever is on the machine, or comes through a proxy, asks the exporter who is logged in."""
    port = free_port()
    disguises: list[dict[str, str]] = [
        {},
        {"Host": "localhost"},
        {"Host": "127.0.0.1", "X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1;host=localhost"},
        {"Authorization": "Bearer 0123456789abcdef"},
        {"Authorization": "Basic am9lOmpvZQ=="},
        {"Origin": "http://localhost"},
    ]
    with Proxy(directory, names.site(port), metrics=f"{LOOPBACK}:0") as proxy, names.logged_in(port):
        wait_until(lambda: names.users(names.at_address(proxy)) == ["j*"], "the session is shown")
        told = [names.users(names.at_address(proxy), **disguise) for disguise in disguises]
        mode = (proxy.rundir / "pproxy.http").stat().st_mode & 0o777
    full = sum(names.NAME in one for one in told)
    yield f"{len(told)} questions over loopback, in disguises: {full} were told a name in full", full == 0
    yield f"the socket that tells names is of mode {mode:04o}", mode == 0o600


def mislead(directory: Path) -> Findings:
    """D5: numbers that look like an address and lead somewhere else."""
    hosts = [
        "127.0.0.010",
        "1.2.3",
        "2130706433",
        "0x7f.1",
        "0x7F000001",
        "127.1",
        "1.2.3.4.5",
        "0177.0.0.1",
        "::ffff:7f.1",
    ]
    taken = []
    with Proxy(directory) as proxy:
        for host in hosts:
            reply = proxy.control(f"backend conf b host {host} state online")
            if reply.ok:
                taken.append(host)
        kept = [line for line in proxy.said("show config").lines if line.startswith("backend")]
    yield (
        f"{len(hosts)} hosts of digits and dots that are no address: {len(taken)} were taken {' '.join(taken)}",
        (not taken and not kept),
    )


ATTACKS: dict[str, Callable[[Path], Findings]] = {
    "A1": plant,
    "A3": look_for_passwords,
    "A4": ask_for_names,
    "D5": mislead,
}
