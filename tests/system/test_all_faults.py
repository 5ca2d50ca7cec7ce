"""What is wrong with a configuration is told at once, of whatever kind it is, in each of the four ways to try it."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.runtime.together import apart, together
from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, program

IN_LINES = {
    "set grace soon": '1:11: grace: "soon" is not a time',
    "include nowhere.rc": "2:9: {place}/nowhere.rc: No such file",
    "backend conf h host 127.0.0.300": '3:21: host: "127.0.0.300"',
    "backend conf a host 127.0.0.1 tls starttls tlsca {place}/nowhere.pem": "4:50: tlsca: ",
    "pdm add odd": "5:1: <mod> is missing",
}
"""A word, a file, a host, CA certificates, a form."""

BESIDE = {
    "set tlsdir {place}": "",
    "vserv conf w iface 127.0.0.1 port {free} prot POP3s state online": "vserv w: TLS needs the certificate default",
    "backend conf b host 127.0.0.1 tls starttls tlscert mine": "backend b: TLS needs the certificate mine.pem",
    "pdm add users passwd {place}/nobody": "module users: {place}/nobody cannot be read",
    "pdm add others nosuch": "module others: no module 'nosuch'",
    "set saltfile {place}/salt": "saltfile: {place}/salt cannot be read",
    "set cluster redis://127.0.0.1:1/": "",
    "set clusterpasswordfile {place}/password": "cluster: {place}/password cannot be read",
}
PORTS = {
    "vserv conf v iface 127.0.0.1 port {taken} state online": "v: 127.0.0.1 port {taken} is in use",
    "vserv conf x iface 192.0.2.1 port {taken} state online": "x: 192.0.2.1 is not an address of this host",
}
"""Certificates, modules and what they read, and ports: of them a line says nothing by itself."""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which another program listens."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        yield listening.getsockname()[1]


def told(*words: str | Path) -> list[str]:
    """What a program that refuses a file says to people."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=patient(60), check=False)
    assert done.returncode == 1, done
    return done.stderr.splitlines()


@pytest.mark.parametrize("kinds", [IN_LINES, BESIDE | PORTS], ids=["in lines", "beside"])
def test_all_faults_are_told(tmp_path: Path, taken: int, kinds: dict[str, str]) -> None:
    """Each once and in a line of its own, by a start, `--check`, `check` and `apply`; but none about a port where none
    is bound.
    """
    rc, other = tmp_path / "my.rc", tmp_path / "other"
    names = {"place": tmp_path, "taken": taken, "free": free_port()}
    rc.write_text("\n".join(kinds).format(**names))
    start: list[str | Path] = ["-r", other, "-l", tmp_path / "log", "--metrics", "off", "--statedir", other]
    with Proxy(tmp_path) as proxy:
        found = {
            "start": told(program("pproxy"), "-c", rc, *start),
            "--check": told(program("pproxy"), "-c", rc, "--check"),
            "check": told(program("pcontrol"), "-r", proxy.rundir, "check", rc),
            "apply": told(program("pcontrol"), "-r", proxy.rundir, "apply", rc),
        }
    for way, said in found.items():
        bound = kinds if way != "--check" else kinds.keys() - PORTS
        awaited = [kinds[line].format(**names) for line in bound if kinds[line]]
        assert len(said) == len(awaited), (way, said)
        assert [text for text in awaited if not any(text in line for line in said)] == [], (way, said)


def test_many_faults_are_counted() -> None:
    """One text has the first of them, each once, and how many there are besides."""
    few = ["a", "b; c", "a"]
    assert apart(together(few)) == ["a", "b; c"]
    said = apart(together(map(str, range(100))))
    assert (said[0], said[-1]) == ("0", "80 more")
