"""`pcontrol apply --watch`: the sidecar of a pod. A file is in force at the start, after each change of it, and after
each start of the program; what is refused changes nothing and does not end it.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until


class Watch:
    """A pcontrol that watches a file; what it says is kept."""

    def __init__(self, rundir: Path, file: Path, *options: str) -> None:
        command: list[str | Path] = [program("pcontrol"), "-r", rundir, "apply", file, *(options or ("--watch", "0.1"))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.said = ""

    def hears(self, text: str, seconds: float = 15) -> None:
        """Waits until it has said a line with this, from here on."""
        assert self._process.stderr is not None
        deadline = time.monotonic() + patient(seconds)
        while "\n" not in self.said.partition(text)[2]:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._process.stderr], [], [], left)[0], f"{text!r} is not in {self.said!r}"
            piece = os.read(self._process.stderr.fileno(), 4096).decode()
            assert piece, f"it ended: {self.said!r}"
            self.said += piece
        self.said = self.said.partition(text)[2].partition("\n")[2]

    def stays_silent(self, seconds: float) -> None:
        assert self._process.stderr is not None
        assert not select.select([self._process.stderr], [], [], seconds)[0], os.read(
            self._process.stderr.fileno(), 4096
        )

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        assert self._process.stderr is not None
        self._process.send_signal(number)
        code = self._process.wait(patient(10))
        self._process.stderr.close()
        return code

    def kill(self) -> None:
        """After a failure."""
        if self._process.poll() is None:
            self.end(signal.SIGKILL)


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rundir = directory / "run"
        self.port = free_port()
        self.watches: list[Watch] = []

    def proxy(self) -> Proxy:
        return Proxy(self.directory)

    def watch(self, file: Path, *options: str) -> Watch:
        watch = Watch(self.rundir, file, *options)
        self.watches.append(watch)
        return watch

    def text(self, banner: str) -> str:
        return f"vserv conf v iface {LOOPBACK} port {self.port} state online bannerok {banner}\n"

    def greeting(self) -> bytes:
        with PopClient(self.port) as client:
            return client.line()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for watch in made.watches:
        watch.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watch(site: Site, number: int) -> None:
    """It waits for the program, applies, applies each change, goes on after a refusal, takes no notice of a file that
    is empty or only touched, applies again to the program's successor, and ends with 0 on a signal.
    """
    file = site.directory / "my.rc"
    file.write_text(site.text("one"))
    watch = site.watch(file)
    watch.hears("waiting for the program")
    watch.stays_silent(0.5)
    with site.proxy() as proxy:
        watch.hears("in force: 1 new")
        assert site.greeting() == b"+OK one"
        file.write_text(site.text("two"))
        watch.hears("in force: 1 changed")
        assert site.greeting() == b"+OK two"
        file.write_text(site.text("three") + "bogus\n")
        watch.hears(f'{file}:2:1: "bogus" is unknown')
        assert site.greeting() == b"+OK two"
        watch.stays_silent(0.4)
        file.unlink()
        watch.hears("No such file")
        file.write_text("# by accident\n")
        watch.hears("it holds no command; nothing is changed")
        assert site.greeting() == b"+OK two"
        file.write_text(site.text("four"))
        watch.hears("in force: 1 changed")
        generation = proxy.state().gauges()["generation"]
        os.utime(file)
        watch.stays_silent(0.5)
        assert proxy.state().gauges()["generation"] == generation
    with site.proxy():
        watch.hears("in force: 1 new")
        assert site.greeting() == b"+OK four"
        assert watch.end(number) == 0
        assert site.greeting() == b"+OK four"


def test_a_config_map(site: Site) -> None:
    """Kubernetes exchanges a symbolic link to a directory: the file is another one, though its own link is the same."""
    for name, banner in (("..1", "one"), ("..2", "two")):
        (site.directory / name).mkdir()
        (site.directory / name / "pproxy.rc").write_text(site.text(banner))
    (site.directory / "..data").symlink_to("..1")
    file = site.directory / "pproxy.rc"
    file.symlink_to("..data/pproxy.rc")
    with site.proxy():
        watch = site.watch(file)
        watch.hears("in force")
        assert site.greeting() == b"+OK one"
        (site.directory / "..new").symlink_to("..2")
        (site.directory / "..new").rename(site.directory / "..data")
        shutil.rmtree(site.directory / "..1")
        watch.hears("in force")
        assert site.greeting() == b"+OK two"
        assert watch.end() == 0


def test_a_file_that_is_being_written_is_left_alone(site: Site) -> None:
    """A file that grows line by line is applied when it has come to rest, whole, and not before."""
    file = site.directory / "my.rc"
    file.write_text(site.text("one"))
    with site.proxy() as proxy:
        watch = site.watch(file, "--watch", "0.3")
        watch.hears("in force")
        with file.open("w") as written:
            for number in range(15):
                written.write(f"backend conf b{number}\n")
                written.flush()
                time.sleep(0.1)
            written.write(site.text("two"))
        watch.hears("in force: 15 new, 1 changed")
        assert site.greeting() == b"+OK two"
        applied = [entry for entry in proxy.log("sentence") if entry.fields["line"] == "draft apply"]
        assert len(applied) == 2
        assert watch.end() == 0


def test_a_file_that_is_included_is_watched_too(site: Site) -> None:
    """A change of it alone is applied; one that is broken is told with its own name, and changes nothing."""
    file, more = site.directory / "my.rc", site.directory / "more.rc"
    file.write_text("include more.rc\n")
    more.write_text(site.text("one"))
    with site.proxy():
        watch = site.watch(file)
        watch.hears("in force: 1 new")
        more.write_text(site.text("two"))
        watch.hears("in force: 1 changed")
        assert site.greeting() == b"+OK two"
        more.write_text(site.text("three") + "bogus\n")
        watch.hears(f'{more}:2:1: "bogus" is unknown')
        more.unlink()
        watch.hears(f"{file}:1:9: {more}: No such file")
        more.write_text(site.text("four"))
        watch.hears("in force: 1 changed")
        assert site.greeting() == b"+OK four"
        assert watch.end() == 0


def test_a_watch_may_name_the_file_behind_its_option(site: Site) -> None:
    """`apply --watch FILE` means the file, and the usual interval."""
    file = site.directory / "my.rc"
    file.write_text(site.text("one"))
    with site.proxy():
        command: list[str | Path] = [program("pcontrol"), "-r", site.rundir, "apply", "--watch", file]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: bool(_greets(site)), "the file is in force")
            assert process.poll() is None
        finally:
            process.terminate()
            assert process.wait(patient(10)) == 0


def _greets(site: Site) -> bytes:
    try:
        return site.greeting()
    except ConnectionRefusedError:
        return b""
