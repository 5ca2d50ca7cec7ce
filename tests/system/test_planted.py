"""What others plant where a privileged program writes: links, second names, files and directories of their own."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from supervisor.runtime.directory import Directory, FileOwner, Untrusted, is_fresh
from supervisor.runtime.rights import acting_as
from tests.patience import patient
from tests.system.site import Proxy, free_port, log_entries, program, wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be led astray")

NOBODY = pwd.getpwnam("nobody")
SECRET = b"root's own, and nobody else's\n"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may pass through, with a victim in it: a file of root's."""
    path = Path(tempfile.mkdtemp(prefix="popular-test-"))
    path.chmod(0o755)
    (path / "victim").write_bytes(SECRET)
    (path / "victim").chmod(0o600)
    yield path
    shutil.rmtree(path)


def _directory(path: Path, mode: int, owner: int = 0, group: int = 0) -> Path:
    path.mkdir()
    os.chown(path, owner, group)
    path.chmod(mode)
    return path


def _untouched(place: Path) -> bool:
    found = (place / "victim").stat()
    owned = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o600)
    return owned and (place / "victim").read_bytes() == SECRET


def _link(victim: Path, name: Path) -> None:
    name.symlink_to(victim)
    os.chown(name, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)


def _is_a_pid(path: Path) -> bool:
    return path.exists() and path.read_text().strip().isdigit()


POD = """
import os, sys
from popular.proxy.program import main
os.setgroups([])
os.setresgid(65532, 65532, 65532)
os.setresuid(65532, 65532, 65532)
sys.exit(main())
"""
"""pproxy as a user that may not read where the tests have it."""

PLANTS: dict[str, Callable[[Path, Path], None]] = {"symbolic link": _link, "second name": lambda a, b: b.hardlink_to(a)}


def _try(command: Sequence[object], started: Callable[..., bool] = lambda: False) -> str:
    """Runs a program that does not start, or ends it when it has started; what it said on standard error."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: process.poll() is not None or started(), "it ends, or works", patient(30))
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=patient(20))[1]
    return said


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_nothing_planted_is_followed(place: Path, plant: str, mode: int) -> None:
    """Lock, log, pid file and ringd's log, planted by the run user, in a directory of his own or in a sticky one: what
    they lead to is neither written nor given away, and the program says why it does not start.
    """
    owner = NOBODY.pw_uid if mode == 0o755 else 0
    run = _directory(place / "run", mode, owner)
    log = _directory(place / "log", mode, owner)
    for name in ("pproxy.1.lock", "pcheckd.pid", "ringd.ctrl", "pproxy.ctrl", "pproxy.state", "pproxy.pid"):
        PLANTS[plant](place / "victim", run / name)
    for name in ("pproxy", "ringd", "pcheckd"):
        PLANTS[plant](place / "victim", log / name)
    pproxy = [program("pproxy"), "-r", run, "-w", "1", "--metrics", "off", "--ringd", "off"]
    pcheckd = [program("pcheckd"), "--nodaemon", "-m", place, "-r", run, "-p", str(free_port())]
    ringd = [program("ringd"), "-s", run / "ringd.ctrl"]
    for user in (["-u", "nobody"], []):
        for said in (
            _try([*pproxy, "-l", log / "other", *user], (run / "pproxy.ctrl").is_socket),
            _try([*pproxy, "-r", place / f"fresh{len(user)}", "-l", log / "pproxy", *user]),
            _try([*pcheckd, "-l", log / "pcheckd", *user]),
            _try([*ringd, "-l", log / "ringd", *user]),
        ):
            # Nothing where a second name of a file of root's is another instance's lock, which is passed over.
            assert said.count("\n") == 1 or (plant == "second name" and not said), said
        assert _untouched(place)
    _try([*pcheckd, "-l", "-", "-u", "nobody"], lambda: _is_a_pid(run / "pcheckd.pid"))
    assert _untouched(place)


def test_directories_that_others_can_write_are_refused(place: Path) -> None:
    """As root: of everybody, of a stranger, of a stranger's group; not of root's, the user's, or a sticky one."""
    daemon = pwd.getpwnam("daemon")
    bad = [(0o2777, 0, 65532), (0o777, NOBODY.pw_uid, 0), (0o755, daemon.pw_uid, 0)]
    bad += [(0o770, NOBODY.pw_uid, daemon.pw_gid)]
    good = [(0o1777, 0, 0), (0o700, NOBODY.pw_uid, 0), (0o770, NOBODY.pw_uid, NOBODY.pw_gid), (0o755, 0, 0)]
    good += [(0o775, 0, daemon.pw_gid)]
    for number, (mode, owner, group) in enumerate([*bad, *good]):
        path = _directory(place / f"d{number}", mode, owner, group)
        try:
            Directory.open(path, FileOwner.of(NOBODY)).close()
            refused = ""
        except Untrusted as error:
            refused = str(error)
        assert bool(refused) == (number < len(bad)), (oct(mode), owner, group, refused)
    for option in ("-r", "-l"):
        other = place / "d0" / "log" if option == "-l" else place / "d0"
        said = _try([program("pproxy"), "-r", place / "run", "-l", "-", "-u", "nobody", option, other])
        assert "may be written by everybody" in said, said


def test_a_pod_that_shares_its_directory(place: Path) -> None:
    """root:65532 of mode 2777, as Kubernetes makes a volume, and a program of user 65532: it is told once, and the
    program works; in a subdirectory of mode 0700 nothing is told.
    """
    volume = _directory(place / "volume", 0o2777, 0, 65532)
    for run, told in ((volume, 2), (volume / "own", 1)):
        options = ["-r", run, "-l", volume / "log", "-w", "1", "--metrics", "off"]
        pod = subprocess.Popen([sys.executable, "-c", POD, *map(str, options)], stdin=subprocess.DEVNULL)
        try:
            wait_until((run / "pproxy.ctrl").is_socket, "it answers")
            wait_until(lambda: bool([e for e in log_entries(volume / "log") if e.name == "worker_born"]), "it works")
            os.kill(pod.pid, signal.SIGHUP)
            time.sleep(0.2)
        finally:
            pod.send_signal(signal.SIGTERM)
            assert pod.wait(patient(20)) == 0
        shared = [e for e in log_entries(volume / "log") if e.name == "directory_shared"]
        assert len(shared) == told
        (volume / "log").unlink()
    assert stat.S_IMODE((volume / "own").stat().st_mode) & 0o777 == 0o700


def test_an_unprivileged_program_looks_too(place: Path) -> None:
    """Another user's link, second name or file in a shared directory is not written to, by whomever."""
    volume = _directory(place / "volume", 0o777)
    mine = place / "mine"
    mine.write_bytes(SECRET)
    os.chown(mine, NOBODY.pw_uid, NOBODY.pw_gid)
    (volume / "link").symlink_to(mine)
    (volume / "second").hardlink_to(mine)
    (volume / "theirs").touch()
    os.chown(volume / "theirs", 65532, 65532)
    (volume / "theirs").chmod(0o666)
    with acting_as(NOBODY):
        directory = Directory.open(volume)
        assert "everybody" in directory.doubt
        for name in ("link", "second", "theirs"):
            with pytest.raises(Untrusted):
                directory.open_file(name, os.O_WRONLY | os.O_CREAT)
        directory.close()
    assert mine.read_bytes() == SECRET


def test_a_directory_is_not_given_away(place: Path) -> None:
    """A run directory that is a link to one of root's, or lies where the user could have moved it: not chowned."""
    roots = _directory(place / "roots", 0o755)
    users = _directory(place / "users", 0o755, NOBODY.pw_uid)
    _link(roots, users / "run")
    inner = _directory(users / "inner", 0o755)
    for run in (users / "run", inner):
        said = _try([program("pproxy"), "-u", "nobody", "-l", "-", "-r", run])
        assert said.startswith(f"pproxy: run directory {run}: "), said
        assert roots.stat().st_uid == inner.stat().st_uid == 0


def test_a_log_below_a_directory_of_the_user_is_not_given_away(place: Path) -> None:
    """The user can put any directory of root's where the log is."""
    users = _directory(place / "users", 0o755, NOBODY.pw_uid)
    logs = _directory(users / "logs", 0o755)
    (logs / "log").write_bytes(SECRET)
    (logs / "log").chmod(0o600)
    said = _try([program("pproxy"), "-u", "nobody", "-l", logs / "log", "-r", _directory(place / "run", 0o755)])
    assert "below a directory that others can write" in said
    assert (logs.stat().st_uid, (logs / "log").stat().st_uid, (logs / "log").read_bytes()) == (0, 0, SECRET)


@pytest.mark.parametrize("check", [True, False])
def test_a_start_configuration_leads_to_no_file_of_roots(place: Path, check: bool) -> None:
    """Whoever may write it, or what it includes, sees nothing of them in what is told of faults."""
    rc = place / "pproxy.rc"
    rc.write_text(f"include {place / 'victim'}\n")
    where = ["-l", place / "log", "-r", _directory(place / "run", 0o755, NOBODY.pw_uid)]
    said = _try([program("pproxy"), "-u", "nobody", "-c", rc, *where, *(["--check"] if check else [])])
    assert "Permission denied" in said
    logged = (place / "log").read_bytes() if (place / "log").exists() else b""
    assert SECRET.split(b",")[0] not in said.encode() + logged


def test_what_is_no_fresh_directory(place: Path) -> None:
    """Where a run directory was made, the user may have put another one of root's: only an empty one is given away."""
    fresh, shared = _directory(place / "fresh", 0o700), _directory(place / "shared", 0o755)
    full, users = _directory(place / "full", 0o700), _directory(place / "users", 0o700, NOBODY.pw_uid)
    (full / "file").touch()
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (fresh, shared, full, users)]
    try:
        assert [is_fresh(fd) for fd in opened] == [True, False, False, False]
    finally:
        for fd in opened:
            os.close(fd)


def test_a_log_may_be_a_link_of_roots(place: Path) -> None:
    """Where nobody else can write, root may have put the log elsewhere."""
    log, elsewhere = _directory(place / "log", 0o755), _directory(place / "elsewhere", 0o700, NOBODY.pw_uid)
    (log / "pproxy.log").symlink_to(elsewhere / "file")
    with Proxy(log, options=["-u", "nobody"]) as proxy:
        wait_until(lambda: proxy.log("worker_born"), "it writes")
    assert (elsewhere / "file").stat().st_uid == NOBODY.pw_uid


def test_a_reason_names_what_is_wrong(place: Path) -> None:
    """A log of root's in the user's own directory, a run directory that the user cannot write, locks of strangers."""
    games = pwd.getpwnam("games")
    users = _directory(place / "users", 0o755, games.pw_uid)
    (users / "log").write_bytes(SECRET)
    (users / "log").chmod(0o600)
    pproxy = [program("pproxy"), "-u", "games", "-w", "1", "--metrics", "off", "-r", place / "run"]
    said = _try([*pproxy, "-l", users / "log"])
    assert said.startswith(f"pproxy: log file {users / 'log'}: games may not write it"), said
    run = _directory(place / "closed", 0o775, 0, NOBODY.pw_gid)
    said = _try([*pproxy, "-l", "-", "-r", run])
    assert said == f"pproxy: run directory {run}: games may not make files in it\n"
    sticky = _directory(place / "sticky", 0o1777)
    for number in range(1, 65):
        lock = sticky / f"pproxy.{number}.lock"
        lock.touch(0o600)
        os.chown(lock, NOBODY.pw_uid, NOBODY.pw_gid)
    said = _try([*pproxy, "-l", "-", "-r", sticky])
    assert said == f"pproxy: {sticky} already holds 0 running instances of pproxy, and 64 locks of other users\n"
