"""The run directory: what the dead left is replaced, what the living hold is never touched."""

import errno
import grp
import os
import pwd
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from supervisor.runtime import takeover
from supervisor.runtime.directory import Directory
from supervisor.runtime.instances import Instances, Neighbour
from supervisor.runtime.rundir import CannotStart, RunDirectory
from supervisor.table.segment import Segment, View, path_of
from tests.patience import patient
from tests.system.site import Proxy, program, wait_until
from tests.table import sample


def test_modes_keep_strangers_out(tmp_path: Path) -> None:
    """Run directory 0700; control socket, lock and table 0600; the links and the pid file lead to this instance."""
    with Proxy(tmp_path) as proxy:
        paths = {path.name: path for path in proxy.rundir.iterdir()}
        control = paths[f"pproxy.{proxy.pid}.ctrl"]
        assert stat.S_IMODE(proxy.rundir.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in (control, paths["pproxy.1.lock"])} == {0o600}
        assert stat.S_IMODE(paths["pproxy.state"].stat().st_mode) == 0o600
        assert os.readlink(paths["pproxy.ctrl"]) == control.name
        assert paths["pproxy.pid"].read_text() == f"{proxy.pid}\n"
        assert proxy.state().header.pid == proxy.pid


def test_two_instances_share_a_directory(tmp_path: Path) -> None:
    """Both have a socket and a table of their own; `pproxy.ctrl` leads to the newest, and back when it ends."""
    with Proxy(tmp_path) as first:
        old = first.rundir / f"pproxy.{first.pid}.ctrl"
        table = os.readlink(first.rundir / "pproxy.state")
        second = subprocess.Popen(_second(first, tmp_path), stdin=subprocess.DEVNULL)
        try:
            newest = f"pproxy.{second.pid}.ctrl"
            wait_until(lambda: os.readlink(first.rundir / "pproxy.ctrl") == newest, "the link leads to the newest")
            wait_until(lambda: first.control("show pid").lines == [f"pid {second.pid}"], "it answers there")
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(old))
            assert len(list(first.rundir.glob("*.lock"))) == 2
            first.said("shutdown all")
        finally:
            assert second.wait(patient(10)) == 0
        assert os.readlink(first.rundir / "pproxy.ctrl") == old.name
        assert first.said("show pid").lines == [f"pid {first.pid}"]
        assert os.readlink(first.rundir / "pproxy.state") == table


@pytest.mark.parametrize("same_pid", [1, 2, 3])
def test_instances_with_one_pid_each_have_a_socket(tmp_path: Path, same_pid: int) -> None:
    """Containers that share a mounted run directory all have pid 1: each gets a socket, and none takes another's."""
    places = [RunDirectory(tmp_path / "run", "pproxy") for _ in range(same_pid)]
    sockets = [place.open_control_socket() for place in places]
    for place in places:
        place.publish()
    try:
        names = [place.control_path.name for place in places if place.control_path is not None]
        own = os.getpid()
        assert names == [f"pproxy.{own}.ctrl", f"pproxy.{own}-2.ctrl", f"pproxy.{own}-3.ctrl"][:same_pid]
        assert os.readlink(tmp_path / "run" / "pproxy.ctrl") == names[-1]
        assert len({place.segment_name for place in places}) == same_pid
        for place, listening in zip(places, sockets, strict=True):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(place.control_path))
                listening.accept()[0].close()
    finally:
        for place, listening in zip(places, sockets, strict=True):
            listening.close()
            place.withdraw_all()
    assert list((tmp_path / "run").iterdir()) == []


def test_what_the_dead_left_is_replaced(tmp_path: Path) -> None:
    """A lock nobody holds, a table nobody maps, a socket nobody serves: the next start takes their place."""
    path = tmp_path / "run"
    dead = RunDirectory(path, "pproxy")
    dead.open_control_socket().close()
    segment = Segment.create(dead.segment_name, sample.layout())
    os.close(dead.lock_fd)
    (path / "pproxy.9.lock").touch()

    alive = RunDirectory(path, "pproxy")
    alive.open_control_socket().close()

    assert alive.instance == 1
    assert alive.segment_name == segment.name
    assert sorted(file.name for file in path.iterdir()) == [
        "pproxy.1.lock",
        f"pproxy.{os.getpid()}.ctrl",
    ]
    alive.withdraw_all()
    assert list(path.iterdir()) == []
    assert not path_of(segment.name).exists()


def test_the_table_of_another_dead_instance_is_removed(tmp_path: Path) -> None:
    """The second of two instances dies without a trace of order: the next one that starts removes its table."""
    first, second = (RunDirectory(tmp_path / "run", "pproxy") for _ in range(2))
    segment = Segment.create(second.segment_name, sample.layout())
    os.close(second.lock_fd)

    third = RunDirectory(tmp_path / "run", "other")
    assert path_of(segment.name).exists(), "another program's"
    fourth = RunDirectory(tmp_path / "run", "pproxy")

    assert fourth.instance == 2
    first.withdraw_all()
    assert not path_of(segment.name).exists() or fourth.segment_name == segment.name
    for place in (third, fourth):
        place.withdraw_all()
    assert not path_of(segment.name).exists()


def test_who_had_the_links_meanwhile_is_seen_afterwards(tmp_path: Path) -> None:
    """A newer instance comes and goes between two looks: what it has kept in the state directory is the newest."""
    old, new = (RunDirectory(tmp_path / "run", "pproxy") for _ in range(2))
    with old.open_control_socket():
        old.publish()
        assert old.returns() == 0
        with new.open_control_socket():
            new.publish()
            assert (old.has_successor(), old.returns(), new.returns()) == (True, 0, 0)
            new.withdraw_control()
        assert not old.has_successor()
        assert [old.returns() for _ in range(2)] == [1, 1]
        for place in (new, old):
            place.withdraw_all()


@pytest.mark.parametrize(("living", "orphans"), [(2, False), (1, True)])
def test_the_newest_that_lives_takes_the_links_of_one_that_was_killed(
    tmp_path: Path, living: int, orphans: bool
) -> None:
    """Also while workers of that one live on; an older one leaves them to it. What the dead one has kept is to be read
    then.
    """
    path = tmp_path / "run"
    *_, old, newest = places = [RunDirectory(path, "pproxy") for _ in range(living + 1)]
    controls = []
    for age, place in enumerate(places):
        controls.append(place.open_control_socket())
        os.utime(path / f"pproxy.{place.instance}.lock", (age, age))
        place.publish()
    for place in places:
        place.look()
    assert (path / "pproxy.ctrl").readlink() == Path(f"pproxy.{os.getpid()}-{living + 1}.ctrl"), "it lives"
    controls.pop().close()
    if not orphans:
        os.close(newest.lock_fd)
    for place in places[:-2]:
        place.look()
        assert place.has_successor()
    assert (old.has_successor(), old.returns()) == (True, 0)
    old.look()
    assert (old.has_successor(), old.returns()) == (False, 1)
    links = {name: os.readlink(path / f"pproxy.{name}") for name in ("ctrl", "pid", "state")}
    assert links == {
        "ctrl": f"pproxy.{os.getpid()}{'-2' if living > 1 else ''}.ctrl",
        "pid": f"pproxy.{living}.lock",
        "state": str(path_of(old.segment_name)),
    }
    for control in controls:
        control.close()
    for place in places if orphans else places[:-1]:
        place.withdraw_all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_that_start_at_the_same_moment_one_has_all_links(tmp_path: Path, order: tuple[int, int]) -> None:
    """In whatever order they come: the other one is the older, and has them when this one ends."""
    path, own = tmp_path / "run", os.getpid()
    places = [RunDirectory(path, "pproxy") for _ in range(2)]
    controls = [place.open_control_socket() for place in places]
    https = [place.open_http_socket() for place in places]
    for turn in order:
        places[turn].publish()
    older, newer = (places[turn] for turn in order)
    for place in places:
        place.look()
    assert (older.has_successor(), newer.has_successor()) == (True, False)

    def links() -> set[str]:
        return {os.readlink(path / f"pproxy.{name}") for name in ("ctrl", "http", "pid", "state")}

    assert links() == _all_links(newer, ["", "-2"][order[1]], own)
    newer.withdraw_all()
    assert links() == _all_links(older, ["", "-2"][order[0]], own)
    older.withdraw_all()
    for each in (*controls, *https):
        each.close()


def _all_links(place: RunDirectory, suffix: str, pid: int) -> set[str]:
    sockets = {f"pproxy.{pid}{suffix}.{end}" for end in ("ctrl", "http")}
    return {*sockets, f"pproxy.{place.instance}.lock", str(path_of(place.segment_name))}


def test_one_that_was_killed_while_it_started_keeps_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands reach the one that serves; what is kept is not read anew for that."""
    old = RunDirectory(tmp_path / "run", "pproxy")
    with old.open_control_socket():
        old.publish()
        new = RunDirectory(tmp_path / "run", "pproxy")
        with new.open_control_socket():
            with monkeypatch.context() as patched:
                patched.setattr(takeover, "held_back_by_none", _killed)
                with pytest.raises(KeyboardInterrupt):
                    new.publish()
            old.look()
            assert os.readlink(tmp_path / "run/pproxy.ctrl") == f"pproxy.{os.getpid()}-2.ctrl"
        old.look()
        assert os.readlink(tmp_path / "run/pproxy.ctrl") == f"pproxy.{os.getpid()}.ctrl"
        assert old.returns() == 0
    for place in (new, old):
        place.withdraw_all()


def _killed(*_given: object) -> None:
    raise KeyboardInterrupt


def test_of_two_that_make_the_directory_at_the_same_moment_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes second opens what the other has made."""
    make = os.mkdir

    def makes_just_then(path: str, mode: int = 0o777, **place: int) -> None:
        make(path, mode, **place)
        make(path, mode, **place)

    monkeypatch.setattr("os.mkdir", makes_just_then)
    opened = Directory.open(tmp_path / "new/run", make=True, strict=True)
    assert (tmp_path / "new/run").is_dir()
    assert not opened.made
    opened.close()


def test_who_else_is_there_can_always_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that leaves just then is named; where no descriptor is left nobody says that there is no other one."""
    one, other = (RunDirectory(tmp_path / "run", "pproxy") for _ in range(2))
    with one.open_control_socket(), other.open_control_socket() as control:
        neighbours = Instances.neighbours

        def leaves(*arguments: object) -> list[Neighbour]:
            found = neighbours(*arguments)  # type: ignore[arg-type]
            (tmp_path / "run/pproxy.2.lock").unlink(missing_ok=True)
            return found

        with monkeypatch.context() as patched:
            patched.setattr(Instances, "neighbours", leaves)
            assert one.company().startswith(f"process {os.getpid()} (`pcontrol -s ")
        monkeypatch.setattr("os.listdir", _no_descriptor)
        assert one.has_company()
        assert "Too many open files" in one.company()
        one.look()
        monkeypatch.undo()
        control.close()
    for place in (one, other):
        place.withdraw_all()


def _no_descriptor(_path: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_living_instance_is_never_touched(tmp_path: Path) -> None:
    """Its lock, its table, its socket: a start and an end beside it change nothing of them."""
    path = tmp_path / "run"
    living = RunDirectory(path, "pproxy")
    Segment.create(living.segment_name, sample.layout())
    listening = living.open_control_socket()
    before = {file.name: file.lstat().st_ino for file in path.glob("pproxy.*") if not file.is_symlink()}

    beside = RunDirectory(path, "pproxy")
    beside.open_control_socket().close()
    beside.withdraw_all()

    assert {file.name: file.lstat().st_ino for file in path.glob("pproxy.*") if not file.is_symlink()} == before
    assert path_of(living.segment_name).exists()
    listening.close()
    living.withdraw_all()


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """A file in its place, and a path too long for a socket, are refused with a text that names them."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="file"):
        RunDirectory(tmp_path / "file", "pproxy")
    long = RunDirectory(tmp_path / ("x" * 120), "pproxy")
    with pytest.raises(CannotStart, match="too long"):
        long.open_control_socket()
    long.withdraw_all()


def _start(*options: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [program("pproxy"), "-w", "1", "--metrics", "off", *map(str, options)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patient(20), check=False
    )


@pytest.mark.parametrize("daemon", [False, True])
def test_a_faulty_start_configuration(tmp_path: Path, daemon: bool) -> None:
    """Exit 1, file, line and column on standard error, nothing left behind; in the background, too."""
    rc = tmp_path / "pproxy.rc"
    rc.write_text("example:joe:{PLAIN}canary:store1:\n")
    told = _start("-r", tmp_path / "run", "-l", tmp_path / "log", "-c", rc, *(["-d"] if daemon else [])).stderr
    assert told.startswith(f'{rc}:1:1: "example" is unknown')
    assert "canary" not in told + (tmp_path / "log").read_text(), "a file of users, given by mistake"
    (tmp_path / "log").unlink()
    rc.write_text(
        "# a comment\n\nset backlog 100\n  set backlg 9\nset backlog 2000\nset checkport 1\nbackend conf b hst x\n"
    )

    done = _start("-r", tmp_path / "run", "-l", tmp_path / "log", "-c", rc, *(["-d"] if daemon else []))

    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{rc}:4:7", f"{rc}:5:13", f"{rc}:7:16"], "all faults, in order"
    assert (tmp_path / "log").read_text().count(" ERR 0215 start_failed ") == 3
    wait_until(lambda: list((tmp_path / "run").iterdir()) == [], "nothing is left in the run directory")
    assert "checkport" not in (tmp_path / "log").read_text()


def test_starts_that_fail_early_leave_nothing(tmp_path: Path) -> None:
    """A start configuration or a log directory that is not there, text that is none, an unknown user."""
    (tmp_path / "binary.rc").write_bytes(b"set backlog 100\n\xff\xfe\n")
    attempts: list[list[str | Path]] = [
        ["-l", tmp_path / "log", "-c", tmp_path / "missing.rc"],
        ["-l", tmp_path / "log", "-c", tmp_path / "binary.rc"],
        ["-l", tmp_path / "nowhere" / "log"],
        ["-l", tmp_path / "log", "-u", "no-such-user"],
        ["-l", "-", "-d"],
    ]
    words = ["missing.rc", "not UTF-8", "nowhere", "no-such-user", "leads nowhere"]
    for options, word in zip(attempts, words, strict=True):
        done = _start("-r", tmp_path / "run", *options)
        assert done.returncode == 1, done
        assert word in done.stderr
        assert done.stderr.startswith("pproxy: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert not (tmp_path / "run").exists() or list((tmp_path / "run").iterdir()) == []


def test_in_the_background_standard_error_is_no_log(tmp_path: Path) -> None:
    """Also where a command of the start configuration says it."""
    rc = tmp_path / "background.rc"
    rc.write_text("set logfile -\n")
    done = _start("-r", tmp_path / "run", "-l", tmp_path / "log", "-d", "-c", rc)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{rc}:1:13: logfile: standard error leads nowhere here")
    wait_until(lambda: list((tmp_path / "run").iterdir()) == [], "nothing is left in the run directory")


def test_a_start_from_several_files(tmp_path: Path) -> None:
    """-c twice is both, in their order, as one; with what they include."""
    (tmp_path / "a.rc").write_text("set checkport 1\nset backlog 77\ninclude c.rc\n")
    (tmp_path / "b.rc").write_text("set checkport 2\n")
    (tmp_path / "c.rc").write_text("set checktimeout 9\n")
    options = ["-c", str(tmp_path / "a.rc"), "--config", str(tmp_path / "b.rc")]
    with Proxy(tmp_path, options=options) as proxy:
        wait_until(lambda: "checktimeout 9s" in proxy.said("show").lines, "the start configuration is in force")
        assert {"backlog 77", "checkport 2"} <= set(proxy.said("show").lines)
        assert not proxy.control("rollback").ok, "there was nothing before"


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_start_from_what_is_no_file(tmp_path: Path, kind: str) -> None:
    """Refused at once: it could not be read a second time."""
    rc = tmp_path / "fifo" if kind == "fifo" else Path("/dev/null")
    if kind == "fifo":
        os.mkfifo(rc)
    done = _start("-r", tmp_path / "run", "-l", tmp_path / "log", "-c", rc)

    assert (done.returncode, done.stderr) == (1, f"pproxy: {rc}: not a regular file\n")


def test_in_the_background_the_terminal_is_free(tmp_path: Path) -> None:
    """-d: the started process ends with 0 when its configuration is in force, and nobody holds its terminal: not even
    the workers, which were born before.
    """
    rc = tmp_path / "pproxy.rc"
    rc.write_text("".join(f"set backlog {9 + port}\nset checkport {port}\n" for port in range(1, 1000)))

    # That this returns at all shows it: the pipes of standard output and error are closed by everybody.
    done = _start("-d", "-r", tmp_path / "run", "-l", tmp_path / "log", "-c", rc)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(patient(10))
        control.connect(str(tmp_path / "run" / "pproxy.ctrl"))
        control.sendall(b"show checkport\nshutdown all\n")
        heard = b""
        while piece := control.recv(4096):
            heard += piece
    assert heard.startswith(b"+OK")
    assert b"checkport 999\n" in heard
    wait_until(lambda: list((tmp_path / "run").iterdir()) == [], "it is gone")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_group_may_read(tmp_path: Path) -> None:
    """--ctrl-group: its members see what there is to see; whatever changes or orders something is refused to them, in
    JSON and in drafts too. Others do not get in.
    """
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    group, stranger = grp.getgrnam("adm"), pwd.getpwnam("nobody")
    with Proxy(tmp_path, ["backend conf b"], options=["--ctrl-group", "adm"]) as proxy:
        socket_of = str(proxy.rundir / "pproxy.ctrl")

        def asked(line: str, gid: int) -> str:
            code = (
                "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
                "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.makefile().readline())"
            )
            done = subprocess.run(
                ["/usr/bin/python3", "-c", code, socket_of, line],
                user=stranger.pw_uid,
                group=gid,
                extra_groups=[],
                capture_output=True,
                text=True,
                timeout=patient(20),
                check=False,
            )
            return done.stdout or done.stderr

        for line in ("show config", "sessions", "json workers", "help", "backend list"):
            assert asked(line, group.gr_gid).startswith("+OK"), line
        for line in ("set grace 1s", "json set grace 1s", "shutdown all", "draft begin", "rollback", "kill x"):
            assert asked(line, group.gr_gid).startswith("-ERR only root and the user"), line
        assert "Permission" in asked("show", stranger.pw_gid)
        assert proxy.said("show grace").lines == ["grace 0s"]


def test_who_else_serves_is_told(tmp_path: Path) -> None:
    """A second instance says who else is there, and the command that lets that one go; the command works."""
    with Proxy(tmp_path) as first:
        second = _beside(first, tmp_path, "set grace 0\n")
        log = tmp_path / "second.log"
        wait_until(lambda: log.exists() and "other_instance" in log.read_text(), "it is told")
        line = next(line for line in log.read_text().splitlines() if "other_instance" in line)
        assert f" ADM 0217 other_instance pid={first.pid} " in line
        command = line.partition("command='")[2].rstrip("'").split()
        subprocess.run([program(command[0]), *command[1:]], check=True, timeout=patient(20), capture_output=True)
        assert first.process.wait(patient(20)) == 0
        first.pid = second.pid
        first.said("shutdown all")
        assert second.wait(patient(20)) == 0
        assert second.stderr is not None
        second.stderr.close()


def _second(first: Proxy, tmp_path: Path) -> list[str]:
    """The command of another pproxy in the run directory of the first one."""
    command = [program("pproxy"), "-r", str(first.rundir), "-l", str(tmp_path / "second.log")]
    return [*command, "-w", "1", "--metrics", "off"]


def _beside(first: Proxy, tmp_path: Path, rc: str, *options: str) -> "subprocess.Popen[str]":
    """Another pproxy in the run directory of the first one."""
    file = tmp_path / "second.rc"
    file.write_text(rc)
    return subprocess.Popen(
        [*_second(first, tmp_path), "-c", str(file), *options],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_start_that_fails_takes_nothing_from_the_living(tmp_path: Path) -> None:
    """A second pproxy with a faulty rc file ends; control link, pid file and state file lead to the first one again."""
    with Proxy(tmp_path) as first:
        second = _beside(first, tmp_path, "vserv conf v port many\n")
        _out, errors = second.communicate(timeout=patient(20))

        assert second.returncode == 1
        assert "second.rc:1:19: " in errors
        assert (first.rundir / "pproxy.pid").read_text() == f"{first.pid}\n"
        assert first.said("show pid").lines == [f"pid {first.pid}"]
        assert View.open(first.rundir / "pproxy.state").header.pid == first.pid


def test_a_newcomer_that_is_sent_away_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    """A roll-back: the newer of two instances drains and ends; everything leads to the older one again."""
    with Proxy(tmp_path) as first:
        second = _beside(first, tmp_path, "")
        wait_until(lambda: first.control("show pid").lines == [f"pid {second.pid}"], "the newcomer answers")
        first.said("shutdown delayed")
        assert second.wait(patient(10)) == 0
        assert second.stderr is not None
        second.stderr.close()

        assert (first.rundir / "pproxy.pid").read_text() == f"{first.pid}\n"
        assert first.said("show pid").lines == [f"pid {first.pid}"]
        assert View.open(first.rundir / "pproxy.state").header.pid == first.pid


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_users_directory_is_not_taken(tmp_path: Path) -> None:
    """A second pproxy as another user is refused while the first one lives; the directory stays the first one's."""
    with Proxy(tmp_path) as first:
        second = subprocess.run(
            [*_second(first, tmp_path), "-u", "nobody"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(20),
            check=False,
        )
        assert second.returncode == 1
        assert "in use by an instance of another user" in second.stderr
        assert first.rundir.stat().st_uid == os.getuid()
        assert first.said("show pid").lines == [f"pid {first.pid}"]
