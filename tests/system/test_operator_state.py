"""What the operator orders beside the configuration: kept over a restart, in no configuration, and never in the way."""

import json
import subprocess
from pathlib import Path

from supervisor.pcontrol.connection import Connection
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, PATIENCE, PopClient, Proxy, free_port, program, wait_until

FILE = "state/pproxy.operator.json"
NETWORK = "127.0.0.1/32"


def vserv(port: int) -> str:
    return f"vserv conf main iface {LOOPBACK} port {port} state fake"


def is_blocked(port: int) -> bool:
    """Whether a client sees the end and no greeting."""
    with PopClient(port) as client:
        return not client.connection.recv(1)


def test_it_outlives_restart_and_apply(tmp_path: Path) -> None:
    """A block is in force from the start of the next program on, until it is ended; it is in no configuration."""
    port = free_port()
    (tmp_path / "rc").write_text(vserv(port) + "\n")
    with Proxy(tmp_path, [vserv(port), f"block {NETWORK}"]) as proxy:
        assert is_blocked(port)
    with Proxy(tmp_path, options=["-c", str(tmp_path / "rc")]) as proxy:
        assert [row["id"] for row in proxy.json("state list")] == [NETWORK]
        assert is_blocked(port)
        assert not [line for line in proxy.said("show config").lines if NETWORK in line]
        control = Connection(proxy.rundir / "pproxy.ctrl", PATIENCE)
        assert all(one.ok for one in control.say_all(["draft begin", f"draft say {vserv(port)}", "draft apply"]))
        control.close()
        assert is_blocked(port)
        proxy.said(f"unblock {NETWORK}")
        assert not is_blocked(port)
        assert proxy.said("state list").lines == ["nothing is ordered"]
    assert json.loads((tmp_path / FILE).read_text())["state"] == {}


def test_a_damaged_file_stops_nothing(tmp_path: Path) -> None:
    """It is set aside for people to look at, with one line in the log."""
    (tmp_path / "state").mkdir()
    (tmp_path / FILE).write_text('{"version": 1, "state": {"block": ')
    with Proxy(tmp_path, ["block 192.0.2.0/24"]) as proxy:
        (told,) = proxy.log("state_damaged")
        assert told.fields["aside"] == f"{tmp_path / FILE}.damaged"
        assert [*json.loads((tmp_path / FILE).read_text())["state"]["block"]] == ["192.0.2.0/24"]


def test_what_cannot_be_carried_out_is_told(tmp_path: Path) -> None:
    """Orders of another release, or written by people: each once at the start; a network that is none can be ended."""
    (tmp_path / "state").mkdir()
    orders = {"block": {"home": {}, NETWORK: {}}, "weather": {"fine": {}}, "user route": {"ns:joe": {"to": 7}}}
    orders |= {"trace": {"1": {"of": "user", "name": None}}, "user lock": {"ns:ann": {}}}
    (tmp_path / FILE).write_text(json.dumps({"version": 1, "state": orders}))
    with Proxy(tmp_path) as proxy:
        told = sorted(str(one.fields["order"]) for one in proxy.log("order_unheeded"))
        assert told == ["block home", "trace 1", "user route ns:joe", "weather fine"]
        for command in ("unblock home", "trace stop 1", "user unmove ns:joe"):
            proxy.said(command)
        assert {row["sort"] for row in proxy.json("state list")} == {"block", "user lock", "weather"}


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """The start says so, and each command that is in force and not kept; watchers are told how many those are."""
    (tmp_path / "file").touch()
    options = ["--statedir", str(tmp_path / "file/state")]
    with Proxy(tmp_path, options=options, metrics=f"{LOOPBACK}:0") as proxy:
        assert len(proxy.log("state_not_kept")) == 1
        said = proxy.said("block 192.0.2.0/24").text
        assert "192.0.2.0/24 is blocked; note: not kept when the program ends" in said
        assert len(proxy.json("block list")) == 1
        assert len(proxy.log("state_not_kept")) == 2
        wait_until(lambda: scrape(proxy).value("popular_orders_not_kept") == 1, "it is scraped")
        command = [program("pstatus"), "--rundir", str(proxy.rundir)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        assert "; 1 order is not kept on disk" in shown.stdout


def test_only_the_newest_instance_keeps_it(tmp_path: Path) -> None:
    """The older one obeys too, says that it keeps nothing, and overwrites nothing of what the newer one has ordered.
    When that has ended, as in an upgrade that is taken back, all of it is in force in the older one, and kept; and a
    drain that was ended there cuts nobody.
    """
    port = free_port()
    with Proxy(tmp_path, [vserv(port)]) as old, PopClient(port) as client:
        client.greeted()
        old.said("vserv drain main deadline 30m")
        assert len(old.json("kick list")) == 1
        older = Connection(old.rundir / f"pproxy.{old.pid}.ctrl", PATIENCE)
        assert old.json("config history")[1]["commands"] == ["(start)"], "it is written when it is seen"
        options = ["-r", str(old.rundir), "--statedir", str(tmp_path / "state"), "-l", "-", "--metrics", "off"]
        with (tmp_path / "second.log").open("w") as log:
            new = subprocess.Popen([program("pproxy"), *options], stdin=subprocess.DEVNULL, stderr=log)
        wait_until(lambda: old.control("show pid").lines == [f"pid {new.pid}"], "the newer one answers")
        blocked = old.said("block 192.0.2.1").text
        assert f"not in force at another instance, which serves here too: process {old.pid} (`pcontrol -s" in blocked
        said = older.say("block 192.0.2.2")
        assert said.ok
        assert "not kept when the program ends (a newer instance of the program keeps what is ordered)" in said.text
        locked = old.said("user lock joe").text
        assert locked.endswith("; note: another instance serves here too, and its sessions are not among them")
        older.close()
        assert [*json.loads((tmp_path / FILE).read_text())["state"]["block"]] == ["192.0.2.1/32"]
        old.said("set grace 7s")
        old.said("vserv undrain main")
        old.said("shutdown all")
        assert new.wait(PATIENCE) == 0
        both = {"192.0.2.1/32", "192.0.2.2/32"}
        wait_until(lambda: {row["network"] for row in old.json("block list")} == both, "it is taken up")
        assert "default:joe" in {row["id"] for row in old.json("state list")}
        assert old.json("kick list") == []
        newest = [["(back)"], ["set grace 7s"]]
        wait_until(lambda: [row["commands"] for row in old.json("config history 2")] == newest, "so is the history")
        old.said("unblock 192.0.2.1")
        kept = json.loads((tmp_path / FILE).read_text())["state"]
        assert ([*kept["block"]], len(kept["user lock"])) == (["192.0.2.2/32"], 1)


def test_what_was_answered_outlives_a_kill(tmp_path: Path) -> None:
    """kill -9 of the master just after the answer: the next program knows it."""
    with Proxy(tmp_path) as proxy:
        proxy.said("block 192.0.2.1")
        proxy.kill_master()
    with Proxy(tmp_path) as proxy:
        assert [row["network"] for row in proxy.json("block list")] == ["192.0.2.1/32"]


def test_another_run_directory_does_not_overwrite_it(tmp_path: Path) -> None:
    """Another proxy with the same state directory does not start, and says whose it is; when that is gone it may."""
    with Proxy(tmp_path) as proxy:
        options = ["-r", str(tmp_path / "other"), "--statedir", str(tmp_path / "state"), "-l", "-", "--metrics", "off"]
        command = [program("pproxy"), *options]
        second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        assert second.returncode == 1
        assert f"is in use by the pproxy of the run directory {proxy.rundir}: " in second.stderr
        assert not list((tmp_path / "other").glob("*.ctrl"))
        proxy.kill_master()
        third = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until((tmp_path / "other/pproxy.ctrl").exists, "another one takes it over")
        third.terminate()
        assert third.wait(PATIENCE) == 0
