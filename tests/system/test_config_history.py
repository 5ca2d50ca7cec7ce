"""The history of configurations: who brought each about and why, what differed, and any of them back again."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

_SIGNED = ["--as", "ann", "--message", "store 7 is new"]


def _start(directory: Path, port: int) -> list[str]:
    (directory / "state").mkdir(exist_ok=True)
    (directory / "rc").write_text(
        f"set capadir {directory}\nbackend conf b\ncapa load set1\n"
        f"vserv conf v iface {LOOPBACK} port {port} namespace n state online capa set1\n"
    )
    (directory / "set1").write_text("TOP\n")
    return ["-n", "100", "-c", str(directory / "rc")]


def _pcontrol(proxy: Proxy, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("pcontrol"), "-r", str(proxy.rundir), *words],
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )


def test_what_was_in_force_comes_back(tmp_path: Path) -> None:
    """Beyond a restart, with who, when and why; as a difference; sessions go on; what fails has changed nothing."""
    port = free_port()
    options = _start(tmp_path, port)
    with Proxy(tmp_path, options=options) as proxy:
        wait_until(lambda: proxy.said("vserv list").lines == ["v"], "the start configuration is in force")
        begun = proxy.said("show config").lines
        assert _pcontrol(proxy, *_SIGNED, "-c", "set grace 3s", "-c", "backend conf c").returncode == 0
        changed = proxy.said("show config").lines
        proxy.said("set grace 4s")
        proxy.said("pdm check")  # changes nothing, and is no configuration of its own
        third, second, first = proxy.json("config history")
        assert [first["number"], second["number"], third["number"]] == [1, 2, 3]
        assert (second["as"], second["message"], second["uid"]) == ("ann", "store 7 is new", third["uid"])
        assert (second["commands"], second["comes"], second["goes"]) == (["set grace 3s", "backend conf c"], 2, 0)
        assert (first["commands"], third["as"], third["commands"]) == (["(start)"], "", ["set grace 4s"])
        assert proxy.said("config show 1").lines[1:] == begun
        assert proxy.json("config show 2")["lines"] == changed
        assert proxy.said("config diff 2").lines == ["- set grace 3s", "+ set grace 4s"]
        assert proxy.said("config diff 2 1").lines == ["- set grace 3s", "- backend conf c"]
        assert proxy.said("config diff 3").text == "nothing differs"
        assert "1 to 3 are" in proxy.control("config show 9").text
        with PopClient(port) as client:
            client.line()
            assert "in force again" in proxy.said("config rollback 2").text
            assert proxy.said("show config").lines == changed
            assert "nothing differs" in proxy.said("config rollback 2").text
            proxy.said("config rollback 1 confirm 1s")
            assert proxy.said("show config").lines == [f"# {proxy.said('show config').text}", *begun]
            wait_until(lambda: proxy.said("show config").lines == changed, "it was not confirmed")
            client.say(b"CAPA\r\n")
            assert client.line().startswith(b"+OK")
        said = [entry["commands"] for entry in proxy.json("config history 3")]
        assert said == [["rollback"], ["config rollback 1 confirm 1s"], ["config rollback 2"]]
        assert [entry["as"] for entry in proxy.json("config history 2")] == ["program", ""]
        lines = [entry.fields["line"] for entry in proxy.log("sentence")][-3:]
        assert lines == ["config rollback 2", "config rollback 1 confirm 1s", "rollback"]
        (tmp_path / "set1").unlink()
        refused = proxy.control("config rollback 1")
        assert not refused.ok
        assert "history:3:" in refused.text
        told = [(entry.fields["line"], entry.fields["reason"]) for entry in proxy.log("sentence_refused")]
        assert told[1:] == [("config rollback 1", refused.text)]
        assert proxy.said("show config").lines == changed
        proxy.said("set grace 9s")  # and at once:
    (tmp_path / "set1").write_text("TOP\n")
    with Proxy(tmp_path, options=options) as proxy:
        wait_until(lambda: proxy.said("vserv list").lines == ["v"], "the start configuration is in force")
        newest, before, *_ = proxy.json("config history")
        assert (newest["number"], newest["commands"]) == (8, ["(start)"])
        assert before["commands"] == ["set grace 9s"]
        proxy.said("config rollback 2")
        assert proxy.said("show config").lines == changed
        names = sorted(path.name for path in (tmp_path / "state" / "history").iterdir())
        wait_until(lambda: len(list((tmp_path / "state" / "history").iterdir())) == 9, "the last is written")
        assert names[:2] == ["pproxy.000001.rc", "pproxy.000002.rc"]
        kept = tmp_path / "state" / "history" / "pproxy.000002.rc"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert _pcontrol(proxy, "check", str(kept)).returncode == 0, "it is an rc file as it is"
        assert _pcontrol(proxy, "drift", str(kept)).returncode == 0
        proxy.said("set grace 4s")
        drifted = _pcontrol(proxy, "drift", str(kept))
        assert (drifted.returncode, drifted.stdout.splitlines()[:2]) == (5, ["- set grace 4s", "+ set grace 3s"])
        assert _pcontrol(proxy, "-q", "--json", "drift", str(kept)).returncode == 5
        proxy.said("set grace 3s")
        proxy.said("set maxpressure 0")
        again = _pcontrol(proxy, "drift", str(kept))
        assert (again.returncode, again.stdout.splitlines()[0]) == (0, "- set maxpressure 0"), "a default, but said"
        kept.write_text("set grace never\n")
        assert _pcontrol(proxy, "drift", str(kept)).returncode == 1, "a file that is faulty is another matter"


@pytest.mark.parametrize("said", [True, False])
def test_what_cannot_be_as_it_was_stays(tmp_path: Path, said: bool) -> None:
    """Whether it was said or was the first value; and nothing else of that configuration is refused for it."""
    (tmp_path / "start.rc").write_text("set maxsession 1000\n" if said else "set backlog 100\n")
    with Proxy(tmp_path, options=["-c", str(tmp_path / "start.rc")]) as proxy:
        wait_until(lambda: "maxsession 1000" in proxy.said("show").lines, "the start configuration is in force")
        wait_until(lambda: proxy.json("config history"), "it is in the history")
        number = proxy.json("config history")[0]["number"]
        for line in ("set grace 3s", "set maxsession 2000"):
            proxy.said(line)
        told = proxy.said(f"config rollback {number}").text
        assert "note: as it was it cannot be again, so it stays: maxsession" in told
        lines = proxy.said("show config").lines
        assert ("set maxsession 2000" in lines, "set grace 3s" in lines) == (True, False)


def test_a_directory_that_cannot_be_used_stops_nothing(tmp_path: Path) -> None:
    """It is told once, and changes are made; a file that is none of ours is left alone."""
    history = tmp_path / "state" / "history"
    history.mkdir(parents=True)
    (history / "pproxy.000001.rc").write_text("what is this?\n")
    with Proxy(tmp_path, options=["-n", "100"]) as proxy:
        assert "first line" in proxy.log("history_not_kept")[0].fields["reason"]
        proxy.said("set grace 1s")
        assert [entry["number"] for entry in proxy.json("config history")] == [3, 2]
        assert (history / "pproxy.000001.rc").read_text() == "what is this?\n"
        assert proxy.said("config show 3").lines[1:] == proxy.said("show config").lines
        (history / "pproxy.000004.rc").mkdir()
        proxy.said("set grace 2s")
        unwritten = "1 newer configuration could not be written yet"
        wait_until(lambda: unwritten in proxy.said("config history").text, "it is told what the list lacks")
        assert [entry["number"] for entry in proxy.json("config history")] == [3, 2]
        (history / "pproxy.000004.rc").rmdir()
        proxy.said("set grace 5s")
        told = ["set grace 5s", "set grace 2s", "set grace 1s"]
        wait_until(
            lambda: [entry["commands"][-1] for entry in proxy.json("config history 3")] == told, "nothing is missing"
        )
        assert proxy.said("config history").text == "4 configurations"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "history").write_text("no directory\n")
    with Proxy(tmp_path, options=["-n", "100", "--statedir", str(tmp_path / "other")]) as proxy:
        proxy.said("set grace 1s")
        proxy.said("config history")
        wait_until(lambda: "Not a directory" in proxy.said("config history").lines[0], "it is told why")
        assert "Not a directory" in proxy.log("history_not_kept")[-1].fields["reason"]
        assert proxy.said("show grace").lines == ["grace 1s"]


def test_what_had_to_make_room_is_listed_no_more(tmp_path: Path) -> None:
    """A trace needs the room of the oldest ones: they are not in the list, nor said to be kept, from then on."""
    with Proxy(tmp_path, ["set tracespace 1"], options=["-n", "100"]) as proxy:
        history = tmp_path / "state" / "history"
        for seconds in (3, 4, 5):
            proxy.said(f"set grace {seconds}s")
            numbers = [entry["number"] for entry in proxy.json("config history")]
            proxy.said(f"config show {numbers[0]}")  # which waits until it is written
        oldest = numbers[-1]
        proxy.said("trace start user joe max 1M")
        assert [path.name for path in history.iterdir()] == [f"pproxy.{numbers[0]:06d}.rc"], "the newest stays"
        assert [entry["number"] for entry in proxy.json("config history")] == numbers[:1]
        assert f"{numbers[0]} to {numbers[0]} are" in proxy.control(f"config show {oldest}").text
        assert not proxy.control(f"config rollback {oldest}").ok
        proxy.said("trace stop 1")
        proxy.said("set grace 6s")
        assert [entry["number"] for entry in proxy.json("config history")] == [numbers[0] + 1, numbers[0]]


@contextmanager
def _beside(first: Proxy, tmp_path: Path) -> Iterator[int]:
    """Another instance, in the run directory and with the state directory of the first one; the links lead to it."""
    options = ["-r", str(first.rundir), "--statedir", str(tmp_path / "state"), "-l", str(tmp_path / "second.log")]
    command = [program("pproxy"), *options, "-w", "1", "-n", "100", "--metrics", "off"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as second:
        try:
            link, newest = first.rundir / "pproxy.ctrl", f"pproxy.{second.pid}.ctrl"
            wait_until(lambda: str(link.readlink()) == newest, "the links lead to the newest")
            yield second.pid
            first.said("shutdown all")
            assert second.wait(patient(20)) == 0
        finally:
            second.kill()


def test_a_newer_instance_knows_what_was_answered_before_it(tmp_path: Path) -> None:
    """However soon it starts after that; what is said to the older one afterwards is told by its log."""
    with Proxy(tmp_path, options=["-n", "100"]) as first:
        first.said("set grace 7s")
        with _beside(first, tmp_path):
            there = [["(start)"], ["set grace 7s"]]
            wait_until(
                lambda: [entry["commands"] for entry in first.json("config history 2")] == there, "it has read that"
            )
            assert not first.log("history_not_kept")
            old = str(first.rundir / f"pproxy.{first.pid}.ctrl")
            assert _pcontrol(first, "-s", old, "-c", "set grace 8s").returncode == 0
            wait_until(lambda: first.log("history_not_kept"), "it is told")


@pytest.mark.nightly
def test_one_that_is_stopped_holds_no_newer_one_back_for_ever(tmp_path: Path) -> None:
    """The newer one starts without it, overwrites nothing, and what it lacks is told when the older one goes on."""
    with Proxy(tmp_path, options=["-n", "100"]) as first:
        first.said("set grace 7s")
        first.process.send_signal(signal.SIGSTOP)
        try:
            with _beside(first, tmp_path) as newest:
                assert first.control("show pid", patient(40)).lines == [f"pid {newest}"]
                first.process.send_signal(signal.SIGCONT)
                wait_until(lambda: "set grace 7s" in str(first.log("history_not_kept")), "it is told")
                wait_until(lambda: first.json("config history"), "the start of the newer one is there")
                assert "7s" not in str(first.json("config history"))
        finally:
            first.process.send_signal(signal.SIGCONT)
