"""Two hundred random configurations are applied, some of them faulty, while a storm of clients goes on at a virtual
server that all of them have: each +OK is in force in every worker, each refusal changes nothing, nobody is lost.
"""

import random
import socket
import time
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

from supervisor.control.files.rcfile import parse
from supervisor.pcontrol.apply import NotTaken, bring
from supervisor.pcontrol.connection import Connection
from tests.system import storm
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port

CONFIGURATIONS = 200
SEED = 20_26
RATE = 120
OPTIONS = Namespace(subcommand="apply", json=False, dry_run=False, confirm=None)
SETS = ("one", "two", "three")
PROBES = 4

FAULTS = {
    "a word": "bogus",
    "a command that is none of a configuration": "shutdown children",
    "a module that no worker finds": "pdm add last nosuch",
    "a module that does not start": "pdm add last any",
    "a set that is not there": "capa load nosuch",
    "fewer sessions": "set maxsession 999",
    "a port of another program": "vserv conf z iface {host} port {taken} state online",
    "an address of another host": "vserv conf z iface 192.0.2.1 port {free} state online",
    "TLS without a certificate": "vserv conf z iface {host} port {free} prot POP3s state online",
    "a loop": "backend conf z host {host} port {port} state online",
}


class Server(NamedTuple):
    """What clients must find at a port."""

    port: int
    greeting: bytes | None
    """None: nobody listens."""
    mark: bytes | None
    """A line of the CAPA answer."""


class NeedsLookup(NamedTuple):
    """A configuration in the form in which `show config` prints it."""

    lines: list[str]
    servers: list[Server]


class Dice:
    """Makes configurations; the same ones each time."""

    def __init__(self, directory: Path, backend: int, port: int) -> None:
        self._random = random.Random(SEED)
        self._backend = backend
        self._directory = directory
        self._ports = [free_port() for _ in range(5)]
        self._number = 0
        self.port = port
        self._others: dict[str, tuple[int, str]] = {}
        for name in SETS:
            (directory / name).write_text(f"TOP\nUIDL\nX-SET {name}\n")

    def throw(self) -> NeedsLookup:
        """The next one."""
        self._number += 1
        chance = self._random.random
        self._move_others()
        lines = self._variables()
        lines += [f"capa load {name}" for name in SETS]
        lines += [f"backend conf far host {LOOPBACK} port {self._backend} state online"]
        lines += [
            f"backend conf b{number} host 192.0.2.{number} state fake" for number in range(1, 9) if chance() < 0.3
        ]
        modules = [f"pdm add m{number} any b{number} %n-{number}" for number in range(1, 6) if chance() < 0.5]
        self._random.shuffle(modules)
        lines += ["pdm add all any far", *modules]
        servers = [self._server("v", self.port, "online", lines)]
        servers += [self._server(name, *other, lines) for name, other in self._others.items()]
        return NeedsLookup([*lines, *(["debug =MAIN,TLS"] if chance() < 0.1 else [])], servers)

    def _move_others(self) -> None:
        """Now and then another virtual server comes, goes, or moves to another port."""
        if self._random.random() < 0.75 and self._number > 1:
            return
        ports = self._random.sample(self._ports, self._random.randrange(4))
        names = self._random.sample("abcd", len(ports))
        self._others = {name: (port, "") for name, port in zip(names, ports, strict=True)}

    def _variables(self) -> list[str]:
        some = self._random
        lines = [f"set grace {some.randrange(1, 50)}s"] if some.random() < 0.5 else []
        lines += [f"set workers {some.randrange(3, 6)}"] if some.random() < 0.15 else ["set workers 4"]
        lines += [f"set capadir {self._directory}"]
        lines += [f"set checkport {some.randrange(1, 60_000)}"] if some.random() < 0.5 else []
        lines += [f"set idletimeout {some.randrange(11, 50)}m"] if some.random() < 0.5 else []
        return lines

    def _server(self, name: str, port: int, state: str, lines: list[str]) -> Server:
        some = self._random
        state = state or some.choice(["online", "fake", "disabled", "offline"])
        mark = some.choice([*SETS, ""])
        capa = f" capa {mark}" if mark else ""
        ok, err = f"{name}{self._number}", f"no{self._number}"
        lines.append(
            f"vserv conf {name} iface {LOOPBACK} port {port}{capa} state {state} bannerok {ok} bannererr {err}"
        )
        greetings = {"offline": None, "disabled": b"-ERR " + err.encode()}
        return Server(port, greetings.get(state, b"+OK " + ok.encode()), mark.encode() or None)

    def spoil(self, wanted: NeedsLookup, taken: int) -> NeedsLookup:
        """A configuration, with a fault somewhere."""
        fault = self._random.choice(list(FAULTS.values()))
        line = fault.format(host=LOOPBACK, taken=taken, free=free_port(), port=self.port)
        place = len(wanted.lines) if "conf z" in fault else self._random.randrange(len(wanted.lines) + 1)
        return NeedsLookup([*wanted.lines[:place], line, *wanted.lines[place:]], [])

    def is_to_be_spoilt(self) -> bool:
        return self._random.random() < 0.3


def _apply(proxy: Proxy, lines: list[str]) -> str | None:
    """As pcontrol does it; gives the reason of a refusal."""
    connection = Connection(proxy.rundir / "pproxy.ctrl", 30)
    try:
        bring(connection, parse("\n".join(lines).encode(), "rc"), OPTIONS)
    except NotTaken as error:
        return str(error)
    finally:
        connection.close()
    return None


def _config(proxy: Proxy) -> list[str]:
    return [line for line in proxy.said("show config").lines if not line.startswith("set logfile")]


def _look(server: Server) -> None:
    """The server greets as it should, or nobody listens there."""
    if server.greeting is None:
        with socket.socket() as probe:
            assert probe.connect_ex((LOOPBACK, server.port)) != 0, server
        return
    with PopClient(server.port) as client:
        assert client.greeted() == server.greeting
        if server.greeting.startswith(b"+OK"):
            assert client.ask("CAPA").startswith(b"+OK")
            marks = [line.removeprefix(b"X-SET ") for line in client.block() if line.startswith(b"X-SET")]
            assert marks == ([server.mark] if server.mark else []), server


def test_two_hundred_configurations_in_a_storm(tmp_path: Path) -> None:
    """See the top of this file."""
    port = free_port()
    with storm.backend(tmp_path) as backend, socket.create_server((LOOPBACK, 0)) as foreign:
        dice = Dice(tmp_path, backend, port)
        with Proxy(tmp_path, workers=4, options=["-n", "4000"]) as proxy:
            wanted = dice.throw()
            assert _apply(proxy, wanted.lines) is None
            refusals: list[str] = []
            began = time.monotonic()
            with storm.Storm(port, RATE) as clients:
                for _ in range(CONFIGURATIONS):
                    if dice.is_to_be_spoilt():
                        spoilt = dice.spoil(dice.throw(), foreign.getsockname()[1])
                        reason = _apply(proxy, spoilt.lines)
                        assert reason is not None, spoilt
                        refusals.append(reason)
                    else:
                        wanted = dice.throw()
                        assert _apply(proxy, wanted.lines) is None, wanted
                    assert _config(proxy) == wanted.lines
                    for server in [wanted.servers[0]] * PROBES + wanted.servers[1:]:
                        _look(server)
                seconds = time.monotonic() - began
            print(clients.fared.line(f"{CONFIGURATIONS} configurations in {seconds:.1f} s, {len(refusals)} refused"))
            assert clients.fared.spotless(), clients.fared
            assert clients.fared.wrong == clients.fared.late == 0
            assert clients.fared.connects > 10 * CONFIGURATIONS
            assert 30 < len(refusals) < 100
            served = {entry.pid for entry in proxy.log("session_end")}
            assert served >= set(proxy.workers()), "every worker was met"
            proxy.wait_until_quiet()
            assert not proxy.log("worker_died")
